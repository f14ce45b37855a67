import { launchInput, variablesOf } from "@toolyard/launch";
import { badInput, type Problem } from "@toolyard/service-kit";
import { line, plainText } from "@toolyard/service-kit/text-input.ts";
import { z } from "zod";
import { parseYaml } from "../yaml-text.ts";

/** The file in which a repository describes its tool. */
export const MANIFEST_NAME = "toolyard.yaml";
/** YAML is read at a few megabytes a second, while all else in the process waits. */
const MAX_MANIFEST_CHARACTERS = 65_536;
const MAX_PATTERNS = 64;

const pattern = line(200)
  .refine((text) => !text.startsWith("/"), "must be a path from the file's own folder, without a slash before it")
  .refine((text) => !text.split("/").some((part) => part === ".." || part === "."), "must have no . and .. in it")
  .refine((text) => !text.includes("//"), "must have one slash between its parts");

const manifestSchema = z.strictObject({
  name: line(100).nullish(),
  description: plainText(10_000).nullish(),
  launch: launchInput.nullish(),
  configSchema: z.unknown().optional(),
  knowledge: z
    .array(pattern)
    .max(MAX_PATTERNS, `must have at most ${MAX_PATTERNS} paths`)
    .nullish()
    .transform((paths) => (paths ?? []).flatMap(filesOf)),
});

/** `configSchema` is not checked; null removes it. Fields that are left out stay as they are. `knowledge` are patterns of a PathFilter. */
export type Manifest = z.infer<typeof manifestSchema>;

/** @throws ToolyardError BAD_USER_INPUT naming every place that is wrong, and secrets that have a value */
export function parseManifest(text: string): Manifest {
  if (text.length > MAX_MANIFEST_CHARACTERS)
    throw badInput([{ path: MANIFEST_NAME, message: `must have at most ${MAX_MANIFEST_CHARACTERS} characters` }]);
  const manifest = parseYaml(manifestSchema, text, MANIFEST_NAME);
  const problems = secretsIn(manifest);
  if (problems.length > 0) throw badInput(problems);
  return manifest;
}

/** A path without wildcards may name a folder: the files in it are meant, too. */
function filesOf(path: string): string[] {
  const bare = path.replace(/\/$/, "");
  return /[*?]/.test(bare) ? [path.endsWith("/") ? `${bare}/**` : bare] : [bare, `${bare}/**`];
}

function secretsIn({ launch }: Manifest): Problem[] {
  if (launch == null) return [];
  const message =
    "must not be in the repository, since it is secret: remove it there, replace it where it is valid, and give the new one to updateTool";
  const found = variablesOf(launch)
    .filter(({ secret, value }) => secret && value !== null)
    .map(({ name }) => ({ path: `${MANIFEST_NAME}.launch: the value of ${name}`, message }));
  if (launch.kind === "remote" && launch.secretUrl !== null)
    found.push({ path: `${MANIFEST_NAME}.launch.remote.url`, message });
  return found;
}
