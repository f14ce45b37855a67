import { parseArgs } from "node:util";
import { ConfigError, messageOf, type Environment } from "@toolyard/service-kit";

/** The supergraph to serve: a composed one, one composed here by a supergraph.yaml, or Toolyard's own (null). */
export type ChosenSupergraph = { kind: "composed"; file: string } | { kind: "config"; file: string } | null;

const USAGE = "Usage: npm run gateway -- [--supergraph FILE | --supergraph-config FILE]";
const HELP = `${USAGE}

  -s, --supergraph FILE      serve a composed Federation 2 supergraph (rover supergraph compose); the file is watched
  --supergraph-config FILE   compose and serve what a supergraph.yaml names, and watch that
  --hot-reload               taken and needless: files are always watched
  -h, --help                 this text
  -v, --version

Without a supergraph it serves Toolyard's own graph. All else is said by environment variables, listed with their defaults in
.env.example, such as PORT=4000, HOST=127.0.0.1, LOG_LEVEL=info, SUBGRAPH_URLS=name=URL,…, JWKS_URL, FORWARD_HEADERS.
`;

/** Output that a command line asks for instead of serving anything: help or the version; null: nothing. */
export function askedText(args: readonly string[], version: string): string | null {
  if (args.includes("--help") || args.includes("-h")) return HELP;
  return args.includes("--version") || args.includes("-v") ? `${version}\n` : null;
}

/**
 * Reads the gateway's arguments, as the users of Apollo's router and of rover know them: `-s`, `--supergraph` and
 * APOLLO_ROUTER_SUPERGRAPH_PATH name a composed supergraph, `--supergraph-config` a supergraph.yaml. One ending in .yaml or .yml is a
 * supergraph.yaml however it is named. `--hot-reload` is taken and changes nothing: files are always watched.
 * @throws ConfigError
 */
export function parseCommandLine(args: string[], env: Environment): ChosenSupergraph {
  let values: { supergraph?: string; "supergraph-config"?: string };
  try {
    ({ values } = parseArgs({
      args,
      options: {
        supergraph: { type: "string", short: "s" },
        "supergraph-config": { type: "string" },
        "hot-reload": { type: "boolean" },
      },
    }));
  } catch (error) {
    throw new ConfigError(`${messageOf(error)}\n${USAGE}`);
  }
  const { supergraph, "supergraph-config": config } = values;
  if (supergraph !== undefined && config !== undefined)
    throw new ConfigError(`Both --supergraph and --supergraph-config are given: which supergraph?\n${USAGE}`);
  if (config !== undefined) return { kind: "config", file: config };
  const file = supergraph ?? env["APOLLO_ROUTER_SUPERGRAPH_PATH"] ?? "";
  if (file === "") return null;
  return { kind: /\.ya?ml$/i.test(file) ? "config" : "composed", file };
}
