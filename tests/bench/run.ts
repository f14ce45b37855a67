/** `npm run bench [name…]`: runs the benchmarks one after the other, each in a process of its own. Quiet machines give truer figures. */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";

const wanted = process.argv.slice(2);
const files = readdirSync(import.meta.dirname).filter((file) => file.endsWith(".bench.ts"));
for (const file of files.toSorted()) {
  const name = file.slice(0, -".bench.ts".length);
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  console.log(`\n${name}`);
  const { status } = spawnSync(process.execPath, [join(import.meta.dirname, file)], { stdio: "inherit" });
  if (status !== 0) process.exitCode = 1;
}
