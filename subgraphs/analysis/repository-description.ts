import { openSnapshot, type GitHubClient } from "@toolyard/github";
import { ToolyardError, preconditionFailed } from "@toolyard/service-kit";
import { parseJson } from "@toolyard/service-kit/json.ts";
import { z } from "zod";

const MAX_README = 20_000;
const MAX_FILE_BYTES = 1_048_576;
const README = /^readme(?:\.(?:md|markdown|rst|txt))?$/i;
const FILES = ["package.json", "pyproject.toml"];

/** A package's name and version as its registry has them; a command line is made of both. */
const nodePackage = z.object({
  name: z.string().regex(/^(?:@[a-z0-9][\w.-]*\/)?[a-z0-9][\w.-]*$/),
  version: z
    .string()
    .regex(/^\d[\w.+-]*$/)
    .optional(),
  private: z.literal(false).optional(),
  bin: z.union([z.string(), z.record(z.string(), z.string())]),
});

/** What a public repository says of itself. */
export interface RepositoryDescription {
  /** As somebody would describe its server: how it is started, then its README. */
  description: string;
  /** What was read, as a sentence. */
  source: string;
}

/**
 * Reads the default branch of a public repository on GitHub.
 * @throws ToolyardError NOT_FOUND where there is none, or nothing in it that describes a server; PRECONDITION_FAILED for a private
 *   one; and as GitHubClient does
 */
export async function describeRepository(
  github: GitHubClient,
  repository: string,
  signal: AbortSignal,
): Promise<RepositoryDescription> {
  const [owner = "", name = ""] = repository.split("/");
  const snapshot = await openSnapshot(github, { owner, name, revision: "HEAD" }, signal);
  // Toolyard's credential may read what the user who asks may not.
  if (snapshot.isPrivate)
    throw preconditionFailed(
      "repository",
      `The repository ${repository} is private, and a configuration is written for public ones only. Describe the server instead.`,
    );
  const isWanted = (path: string) => FILES.includes(path) || README.test(path);
  const found = await snapshot.list("", { matches: isWanted, mayHold: (folder) => folder === "" }, FILES.length + 9);
  const texts = new Map<string, string>();
  for await (const { file, text } of snapshot.read(found.filter(({ size }) => size <= MAX_FILE_BYTES)))
    if (text !== null) texts.set(file.path, text);
  if (texts.size === 0)
    throw new ToolyardError(
      "NOT_FOUND",
      `The repository ${repository} has no package.json, pyproject.toml or README in its root. Describe the server instead.`,
    );
  const command = commandOf(texts);
  const readme = [...texts].find(([path]) => README.test(path))?.[1] ?? "";
  return {
    description: [...(command === null ? [] : [`\`${command}\``]), readme.slice(0, MAX_README)].join("\n\n"),
    source: `Read from ${[...texts.keys()].join(", ")} of ${repository} at ${snapshot.commitSha.slice(0, 7)}; whether the package is published was not checked.`,
  };
}

/** How a package that the repository holds is run once it is published. */
function commandOf(texts: ReadonlyMap<string, string>): string | null {
  const node = nodePackage.safeParse(parseJson(texts.get("package.json") ?? ""));
  if (node.success) return `npx -y ${[node.data.name, ...(node.data.version ? [node.data.version] : [])].join("@")}`;
  // PEP 621's table, as far as the two lines; its names and versions need no quotes of shells.
  const project = /^\[project\]\s*$([^]*?)(?=^\[|(?![^]))/m.exec(texts.get("pyproject.toml") ?? "")?.[1] ?? "";
  const named = (key: string) => new RegExp(`^${key}\\s*=\\s*["']([\\w.+!-]+)["']`, "m").exec(project)?.[1];
  const [name, version] = [named("name"), named("version")];
  if (name === undefined) return null;
  return version === undefined ? `uvx ${name}` : `uvx ${name}==${version}`;
}
