import { randomBytes } from "node:crypto";
import { mkdir, open, readFile } from "node:fs/promises";
import { join } from "node:path";
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
