import { lstat, open, readdir, realpath, rmdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { messageOf, systemCodeOf, ToolyardError } from "@toolyard/service-kit";

/** The path with links followed in the part that exists, as the system will do when it is written to. */
export async function withoutLinks(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (systemCodeOf(error) !== "ENOENT") return path;
    if (await lstat(path).catch(() => null)) refuse(`${path} is a link to a file that does not exist.`);
    return join(await withoutLinks(dirname(path)), basename(path));
  }
}

/** The error of a folder that cannot be written, in words for whoever chose it. */
export function unwritten(to: string, error: unknown): unknown {
  const code = systemCodeOf(error) ?? "";
  if (/^(ENOSPC|EDQUOT|SQLITE_FULL)/.test(code))
    return new ToolyardError("BAD_USER_INPUT", `There is no space left on the disk of ${to}.`, { cause: error });
  if (code === "EBUSY")
    return new ToolyardError("BAD_USER_INPUT", `${to} is a mount point: choose a folder in it.`, { cause: error });
  if (["ENOENT", "EACCES", "EPERM", "EROFS"].includes(code))
    return new ToolyardError("BAD_USER_INPUT", `${to} cannot be written: ${messageOf(error)}.`, { cause: error });
  return error;
}

/** @throws ToolyardError BAD_USER_INPUT */
export function refuse(message: string): never {
  throw new ToolyardError("BAD_USER_INPUT", message);
}

/** None where there is no folder. */
export async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return [];
    if (systemCodeOf(error) === "ENOTDIR") refuse(`${folder} is no folder.`);
    throw error;
  }
}

/** @throws ToolyardError BAD_USER_INPUT with the message where there is anything in the folder */
export async function placeFor(folder: string, message: string): Promise<void> {
  if ((await namesIn(folder)).length > 0) refuse(message);
}

/** Makes room for a folder of the same name. */
export async function removeEmpty(folder: string): Promise<void> {
  await rmdir(folder).catch((error: unknown) => {
    if (systemCodeOf(error) !== "ENOENT") throw error;
  });
}

/** Has a file of one's own on the disk. */
export async function syncPrivately(path: string): Promise<void> {
  const file = await open(path, "r+");
  try {
    await file.chmod(0o600);
    await file.sync();
  } finally {
    await file.close();
  }
}
