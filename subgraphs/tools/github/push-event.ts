import { badInput, jsonProblem } from "@toolyard/service-kit";
import { z } from "zod";
import type { ConnectionPlace } from "./connection.ts";

/** GitHub lists at most this many commits of a push. https://docs.github.com/webhooks/webhook-events-and-payloads#push */
const MAX_LISTED_COMMITS = 2_048;

const paths = z.array(z.string()).default([]);
const pushSchema = z.object({
  ref: z.string(),
  repository: z.object({ full_name: z.string() }),
  forced: z.boolean().default(false),
  created: z.boolean().default(false),
  commits: z.array(z.object({ added: paths, removed: paths, modified: paths })).default([]),
});

export interface Push extends Pick<ConnectionPlace, "owner" | "repository" | "branch"> {
  /** Whether files in a folder ("" for the root) may have changed. */
  mayTouch(folder: string): boolean;
}

/**
 * Reads the payload of a push, which GitHub sends as JSON or, by its default, as a form with the JSON in its field `payload`. Null for tags.
 * @throws ToolyardError BAD_USER_INPUT
 */
export function parsePush(body: string): Push | null {
  const isForm = body.startsWith("payload=");
  const json = isForm ? (new URLSearchParams(body).get("payload") ?? "") : body;
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw badInput([{ path: "payload", message: `is not JSON: ${jsonProblem(json, error)}` }]);
  }
  const parsed = pushSchema.safeParse(value);
  if (!parsed.success) throw badInput([{ path: "payload", message: "is not that of a push" }]);
  const { ref, repository, forced, created, commits } = parsed.data;
  if (!ref.startsWith("refs/heads/")) return null;
  const [owner = "", name = ""] = repository.full_name.split("/");
  const isWhole = !forced && !created && commits.length > 0 && commits.length < MAX_LISTED_COMMITS;
  return {
    owner,
    repository: name,
    branch: ref.slice("refs/heads/".length),
    mayTouch: (folder) =>
      folder === "" ||
      !isWhole ||
      commits.some((commit) =>
        [commit.added, commit.removed, commit.modified].some((changed) =>
          changed.some((path) => path.startsWith(`${folder}/`)),
        ),
      ),
  };
}
