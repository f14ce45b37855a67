import { execFile } from "node:child_process";
import { rm } from "node:fs/promises";
import { promisify } from "node:util";
import { systemCodeOf } from "@toolyard/service-kit/errors/errors.ts";

/** Error codes of Node's `rm` for folders that a replica made too deep or closed. */
const OBSTACLES = new Set(["ENAMETOOLONG", "EACCES", "EPERM"]);

/** Removes a folder with all that replicas left in it, as read-only folders, sockets, a great many files, folders without end. */
export async function removeTree(folder: string): Promise<void> {
  try {
    await rm(folder, { recursive: true, force: true, maxRetries: 3, retryDelay: 50 });
  } catch (error) {
    if (!OBSTACLES.has(systemCodeOf(error) ?? "")) throw error;
    const options = { env: { PATH: "/usr/bin:/bin" } };
    // Neither follows links, nor builds whole paths.
    await promisify(execFile)("chmod", ["-R", "u+rwx", "--", folder], options);
    await promisify(execFile)("rm", ["-rf", "--", folder], options);
  }
}
