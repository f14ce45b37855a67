import { buffer } from "node:stream/consumers";
import { pack } from "tar-stream";

/** An archive (tar) of files that everybody may read and only root may write. */
export async function archiveOf(files: Readonly<Record<string, string>>): Promise<Buffer> {
  const archive = pack();
  for (const [name, text] of Object.entries(files)) archive.entry({ name, mode: 0o444 }, text);
  archive.finalize();
  return buffer(archive);
}
