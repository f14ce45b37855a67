import { constants, existsSync } from "node:fs";
import { mkdir, open, readdir, readlink, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { systemCodeOf } from "@toolyard/service-kit";

const { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;

/**
 * Copies files, folders and links while somebody may be changing them, perhaps to have other files copied: no link is followed, and every
 * name is looked up in the opened folder, where the system allows that. Files that vanish meanwhile are left out, and so are sockets and pipes.
 * @param leaveOut Names that are not copied, wherever they are.
 */
export async function copyTree(from: string, to: string, leaveOut: ReadonlySet<string>): Promise<void> {
  await using folder = await open(from, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  const inside = existsSync("/proc/self/fd") ? `/proc/self/fd/${folder.fd}` : from;
  await mkdir(to, { mode: 0o700 });
  for (const entry of await readdir(inside, { withFileTypes: true })) {
    const [source, target] = [join(inside, entry.name), join(to, entry.name)];
    try {
      if (leaveOut.has(entry.name)) continue;
      if (entry.isDirectory()) await copyTree(source, target, leaveOut);
      else if (entry.isFile()) await copyFile(source, target);
      else if (entry.isSymbolicLink()) await symlink(await readlink(source), target);
    } catch (error) {
      // Gone, or another kind of thing by now.
      if (!["ENOENT", "ELOOP", "ENOTDIR", "ENXIO", "EINVAL"].includes(systemCodeOf(error) ?? "")) throw error;
    }
  }
}

async function copyFile(from: string, to: string): Promise<void> {
  await using source = await open(from, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  const status = await source.stat();
  if (status.isFile())
    await writeFile(to, source.createReadStream({ autoClose: false }), { mode: status.mode & 0o700 });
}
