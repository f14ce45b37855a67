import { DEFAULT_MCP_PATH, DEFAULT_OPTIONS, launchSchema, type Launch, type LaunchOptions } from "@toolyard/launch";
import { ToolyardError } from "@toolyard/service-kit";
import { parseJson } from "@toolyard/service-kit/json.ts";

/** A stored launch that this version cannot read: a later version wrote it, or it is damaged. It stays in the database as it is. */
interface UnreadableLaunch {
  kind: "unreadable";
  /** As stored. Secret. */
  text: string;
  options: LaunchOptions;
}
export type DeployedLaunch = Launch | UnreadableLaunch;

/** Launches that an earlier version wrote say what they left out by the defaults of now. Never throws: one bad row would hide all others. */
export function readLaunch(text: string): DeployedLaunch {
  const { data } = launchSchema.safeParse(parseJson(text));
  return data ?? { kind: "unreadable", text, options: DEFAULT_OPTIONS };
}

export function launchText(launch: DeployedLaunch): string {
  return launch.kind === "unreadable" ? launch.text : JSON.stringify(launch);
}

/** @throws ToolyardError BAD_USER_INPUT */
export function readable(launch: DeployedLaunch): Launch {
  if (launch.kind !== "unreadable") return launch;
  throw new ToolyardError(
    "BAD_USER_INPUT",
    "Its stored launch cannot be read: a later version of Toolyard wrote it, or it is damaged. Deploy the tool again.",
  );
}

/** The path at which callers find the MCP endpoint: where a remote one's is no secret, its own. */
export function mcpPathOf(launch: DeployedLaunch): string {
  switch (launch.kind) {
    case "stdio":
    case "unreadable":
      return DEFAULT_MCP_PATH;
    case "http":
    case "image":
      return launch.path;
    case "remote":
      return launch.secretUrl === null ? new URL(launch.url).pathname : DEFAULT_MCP_PATH;
  }
}
