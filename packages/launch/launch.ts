import { ToolyardError } from "@toolyard/service-kit";
import { z } from "zod";

const variable = z.object({ name: z.string().min(1), value: z.string(), secret: z.boolean() });

const health = z.object({
  livenessPath: z.string().nullable().default(null),
  readinessPath: z.string().nullable().default(null),
  startTimeoutSeconds: z.number().positive().default(60),
  intervalSeconds: z.number().positive().default(10),
  timeoutSeconds: z.number().positive().default(30),
  failureThreshold: z.number().int().positive().default(3),
  successThreshold: z.number().int().positive().default(1),
});

const resource = z.number().nullable().default(null);

const options = z.object({
  timeoutSeconds: z.number().positive().default(30),
  maxConcurrentCalls: z.number().int().positive().nullable().default(null),
  health: health.default(() => health.parse({})),
  resources: z
    .object({ cpus: resource, memoryMb: resource, processes: resource, diskMb: resource })
    .nullable()
    .default(null),
  enforceApproval: z.boolean().default(false),
});

const common = { options: options.default(() => options.parse({})) };
const program = {
  args: z.array(z.string()).default([]),
  env: z.array(variable).default([]),
};

/** `sealedLaunch.launch` as the tools service hands it out: a variable's value is sealed text where `secret`. */
export const launchSpec = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("stdio"),
    command: z.string().min(1),
    ...program,
    workingDirectory: z.string().nullable().default(null),
    writablePaths: z.array(z.string()).default([]),
    sessions: z.enum(["ISOLATED", "SHARED"]).default("ISOLATED"),
    maxSessions: z.number().int().positive().nullable().default(null),
    idleSeconds: z.number().int().positive().nullable().default(null),
    maxMessageBytes: z.number().int().positive().nullable().default(null),
    ...common,
  }),
  z.object({
    kind: z.literal("http"),
    command: z.string().min(1),
    ...program,
    workingDirectory: z.string().nullable().default(null),
    writablePaths: z.array(z.string()).default([]),
    path: z.string().startsWith("/").default("/mcp"),
    ...common,
  }),
  z.object({
    kind: z.literal("image"),
    image: z.string().min(1),
    ...program,
    port: z.number().int().default(3000),
    path: z.string().startsWith("/").default("/mcp"),
    ...common,
  }),
  z.object({
    kind: z.literal("remote"),
    /** Its origin where the URL is secret. */
    url: z.url({ protocol: /^https?$/ }),
    /** Sealed, with the version's id as context. */
    secretUrl: z.string().nullable().default(null),
    paths: z.array(z.string().startsWith("/")).default([]),
    headers: z.array(variable).default([]),
    ...common,
  }),
]);

export type LaunchSpec = z.output<typeof launchSpec>;

/** A stored launch that this version cannot read: a later version wrote it, or it is damaged. It stays in the database as it is. */
export interface UnreadableLaunch {
  kind: "unreadable";
  /** As stored. Secret. */
  text: string;
  options: LaunchSpec["options"];
}
export type StoredLaunch = LaunchSpec | UnreadableLaunch;

/** Launches that an earlier version wrote say what they left out by the defaults of now. Never throws: one bad row would hide all others. */
export function readLaunch(text: string): StoredLaunch {
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch {
    given = null; // refused below
  }
  const { data } = launchSpec.safeParse(given);
  return data ?? { kind: "unreadable", text, options: options.parse({}) };
}

export function launchText(launch: StoredLaunch): string {
  return launch.kind === "unreadable" ? launch.text : JSON.stringify(launch);
}

/** @throws ToolyardError BAD_USER_INPUT */
export function readable(launch: StoredLaunch): LaunchSpec {
  if (launch.kind !== "unreadable") return launch;
  throw new ToolyardError(
    "BAD_USER_INPUT",
    "Its stored launch cannot be read: a later version of Toolyard wrote it, or it is damaged. Deploy the tool again.",
  );
}
export type LaunchVariable = z.output<typeof variable>;
export type HealthPolicy = z.output<typeof health>;

/** The path at which callers find the MCP endpoint: where a remote one's is no secret, its own. */
export function mcpPathOf(launch: StoredLaunch): string {
  switch (launch.kind) {
    case "stdio":
    case "unreadable":
      return "/mcp";
    case "http":
    case "image":
      return launch.path;
    case "remote":
      // Deployments that were made before URLs could be secret have none.
      return launch.secretUrl == null ? new URL(launch.url).pathname : "/mcp";
  }
}
