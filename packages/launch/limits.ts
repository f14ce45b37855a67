/**
 * The bounds and defaults of a launch's numbers. Imports nothing: a bridge reads it, too. `npm run generate` puts them into the SDL, for those who
 * write launches.
 */
export interface Limit {
  least: number;
  most: number;
  /** Written into the launch where none is given; null: the launch keeps null. */
  default: number | null;
  /** The value of null when the server is run; without it, null is no limit, or another option's value. */
  whenNull?: number;
}

export const LIMITS = {
  options: {
    timeoutSeconds: { least: 1, most: 3_600, default: 30 },
    maxConcurrentCalls: { least: 1, most: 10_000, default: null },
  },
  health: {
    startTimeoutSeconds: { least: 1, most: 3_600, default: 60 },
    intervalSeconds: { least: 1, most: 3_600, default: 10 },
    /** Null: the launch's own `timeoutSeconds`, as far as this allows. */
    timeoutSeconds: { least: 1, most: 300, default: null },
    failureThreshold: { least: 1, most: 100, default: 3 },
    successThreshold: { least: 1, most: 100, default: 1 },
  },
  /** A browser, the greediest that servers start, needs about 1 GiB and 300 threads. */
  resources: {
    memoryMb: { least: 16, most: 1_048_576, default: null, whenNull: 4_096 },
    processes: { least: 8, most: 65_536, default: null, whenNull: 1_024 },
    diskMb: { least: 16, most: 1_048_576, default: null, whenNull: 4_096 },
  },
  stdio: {
    maxSessions: { least: 1, most: 10_000, default: null, whenNull: 256 },
    idleSeconds: { least: 1, most: 86_400, default: null, whenNull: 300 },
    maxMessageBytes: { least: 65_536, most: 67_108_864, default: null, whenNull: 10_485_760 },
  },
  image: { port: { least: 1, most: 65_535, default: 3_000 } },
} as const satisfies Record<string, Record<string, Limit>>;

export const DEFAULT_MCP_PATH = "/mcp";
