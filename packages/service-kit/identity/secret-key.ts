import { randomBytes } from "node:crypto";
import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { systemCodeOf, preconditionFailed } from "../errors/errors.ts";

/** The SECRET_KEY kept in DATA_DIR (mode 0600), made at the first start. When several processes ask at once, one makes it. */
export async function readSecretKey(dataDir: string): Promise<string> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const file = join(dataDir, "secret-key");
  const made = randomBytes(32).toString("base64url");
  try {
    const handle = await open(file, "wx", 0o600);
    await using _closing = { [Symbol.asyncDispose]: () => handle.close() };
    await handle.writeFile(`${made}\n`);
    await handle.sync();
    return made;
  } catch (error) {
    if (systemCodeOf(error) !== "EEXIST") throw error;
  }
  // Another process may have made the file and not yet written it.
  for (let tries = 0; tries < 50; tries++) {
    const key = (await readFile(file, "utf8")).trim();
    if (key.length >= 32) return key;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw preconditionFailed(
    "secret-key",
    `${file} does not hold a key. Restore it from a backup, or remove it to start with a new one: what was sealed with the old key is lost.`,
  );
}

/** The key that DATA_DIR's replaces, for as long as values are sealed with it. */
const previousFile = (dataDir: string): string => join(dataDir, "secret-key.previous");

/** The keys kept in DATA_DIR, the current one first: two while a rotation is under way. */
export async function readSecretKeys(dataDir: string): Promise<readonly [string, ...string[]]> {
  const current = await readSecretKey(dataDir);
  const previous = await readFile(previousFile(dataDir), "utf8").catch((error: unknown) => {
    if (systemCodeOf(error) === "ENOENT") return null;
    throw error;
  });
  const replaced = previous?.trim() ?? current;
  return replaced === current ? [current] : [current, replaced];
}

/** Puts a new key in the place of the one in DATA_DIR, which is kept beside it. A rotation that was begun goes on with the key that it made. */
export async function replaceSecretKey(dataDir: string): Promise<readonly [string, ...string[]]> {
  const [current, ...previous] = await readSecretKeys(dataDir);
  if (previous.length > 0) return [current, ...previous];
  // In this order: at no moment is there a key by which something is sealed that is in neither file.
  await writeKey(previousFile(dataDir), current);
  await writeKey(join(dataDir, "secret-key"), randomBytes(32).toString("base64url"));
  return readSecretKeys(dataDir);
}

/** Ends a rotation: nothing is sealed with the earlier key. */
export async function forgetPreviousKey(dataDir: string): Promise<void> {
  await rm(previousFile(dataDir), { force: true });
}

/** Whole or not at all, also when the system ends in the middle. */
async function writeKey(file: string, key: string): Promise<void> {
  const draft = `${file}.new`;
  await rm(draft, { force: true });
  const handle = await open(draft, "wx", 0o600);
  try {
    await handle.writeFile(`${key}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(draft, file);
  const folder = await open(dirname(file), "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
