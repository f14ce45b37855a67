/**
 * How what is asked of an installation costs more as it fills, ten times from size to size: CPU of all processes for each request, SQL
 * statements, and the longest hold of the event loop. `node tests/bench/run.ts scale`, or `node tests/bench/scale.bench.ts` with
 * `--quick` (the two smaller sizes; as SCALE_QUICK=true), `--only=tools,records,…` (what there is much of), `--match=…` (requests by a part
 * of their name), `--verbose` (also the statement that took longest) and `--write` (into docs/figures.md).
 */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { measureDeployments, measureRoutes } from "./scale/deployments.ts";
import { fill, type Sizes } from "./scale/fill.ts";
import { HOT, RARE_WORD, toolId } from "./scale/names.ts";
import { startProgram, type Cost, type Program } from "./scale/program.ts";
import { lineOf, tableOf, type Row } from "./scale/report.ts";
import type { Request } from "./scale/asking.ts";
import { requests } from "./scale/requests.ts";

const { values: flags } = parseArgs({
  options: {
    quick: { type: "boolean", default: process.env["SCALE_QUICK"] === "true" },
    only: { type: "string", default: "" },
    match: { type: "string", default: "" },
    verbose: { type: "boolean", default: false },
    write: { type: "boolean", default: false },
  },
});

const empty: Sizes = { tools: 0, versions: 0, users: 0, tasks: 0, ended: 0, events: 0, records: 0, documents: 0 };
const first: Sizes = {
  tools: 100,
  versions: 100,
  users: 100,
  tasks: 1_000,
  ended: 1_000,
  events: 100,
  records: 10_000,
  documents: 100,
};
const isWanted = (unit: string) => flags.only === "" || flags.only.split(",").includes(unit);
/** Of what is not asked for there are few, but for tools and users: what is asked for is of some tool, and somebody's. */
const times = (factor: number): Sizes =>
  Object.fromEntries(
    Object.entries(first).map(([name, size]) => [
      name,
      isWanted(name) || name === "tools" || name === "users" ? size * factor : Math.min(size, 100),
    ]),
  ) as unknown as Sizes; // the same names
const levels = [times(1), times(10)];
if (!flags.quick) levels.push(times(100));
if (!flags.quick && isWanted("tools")) levels.push({ ...times(100), tools: 100_000 });
const counts = { deployments: [10, 100, 500], routes: [10, 1_000, 10_000] };
const reached = (sizes: readonly number[]) => (flags.quick ? sizes.slice(0, 2) : sizes);

/** Of a request: after some to warm up, the mean of many. */
async function costOf(program: Program, request: Request, sizes: Sizes): Promise<Cost> {
  const ask = () => request.ask(program, sizes);
  const { once = false, housekeeping = false, each = () => 1 } = request;
  const began = performance.now();
  for (let warm = 0; !once && warm < 3 && performance.now() - began < 300; warm++) await ask();
  let count = 0;
  const run = async () => {
    const until = performance.now() + 400;
    // After two seconds more it is known that it takes long.
    do {
      await ask();
      count += 1;
    } while (!once && performance.now() < until + 2_000 && (count < 3 || (count < 100 && performance.now() < until)));
  };
  const cost = await program.measure(run, { housekeeping });
  return shareOf(cost, count * each(sizes));
}

const shareOf = (cost: Cost, parts: number): Cost => ({
  ...cost,
  cpuMs: cost.cpuMs / parts,
  statements: cost.statements / parts,
  proxyBytes: cost.proxyBytes / parts,
});

/** That what was filled in is what the program reads. */
async function checkFilled({ query }: Program, sizes: Sizes): Promise<void> {
  const { tools, tool, searchDocuments } = await query<{
    tools: { totalCount: number };
    tool: { usage: { calls: number }; deployments: { totalCount: number } };
    searchDocuments: { totalCount: number };
  }>(
    `query ($id: ID!, $word: String!) { tools(search: $word) { totalCount } searchDocuments(query: $word) { totalCount }
      tool(id: $id) { usage(window: MONTH) { calls } deployments { totalCount } } }`,
    { id: toolId(HOT), word: RARE_WORD },
  );
  const isMissing = {
    tools: tools.totalCount !== 1,
    documents: searchDocuments.totalCount !== 1,
    records: tool.usage.calls < sizes.records / 4,
    ended: tool.deployments.totalCount < sizes.ended / 2,
  };
  for (const [what, missing] of Object.entries(isMissing))
    if (missing)
      throw new Error(`The ${what} that were filled in are not found: tests/bench/scale/fill.ts is out of date.`);
}

const tables = new Map<string, Map<string, Row>>();

function note(unit: string, what: string, size: number, cost: Cost): void {
  const rows = tables.get(unit) ?? new Map<string, Row>();
  tables.set(unit, rows);
  const row = rows.get(what) ?? { what, points: [] };
  rows.set(what, row);
  row.points.push({ size, cost });
  if (flags.verbose) console.log(lineOf(unit, what, size, cost));
}

async function inFolder(work: (dataDir: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-scale-"));
  try {
    await work(join(folder, "data"));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

if (requests.some(({ of }) => isWanted(of)))
  await inFolder(async (dataDir) => {
    // The first start makes the stores.
    await (await startProgram(dataDir))[Symbol.asyncDispose]();
    let before = empty;
    for (const sizes of levels) {
      await fill(dataDir, before, sizes);
      await using program = await startProgram(dataDir);
      await checkFilled(program, sizes);
      if (isWanted("tools")) note("tools", "start, of all processes", sizes.tools, program.start);
      for (const request of requests) {
        if (sizes[request.of] === before[request.of] || !isWanted(request.of)) continue;
        if (!request.what.includes(flags.match)) continue;
        note(request.of, request.what, sizes[request.of], await costOf(program, request, sizes));
      }
      before = sizes;
    }
  });
for (const [unit, measureAt] of Object.entries({ deployments: measureDeployments, routes: measureRoutes } as const))
  for (const size of isWanted(unit) ? reached(counts[unit as keyof typeof counts]) : [])
    await inFolder((dataDir) =>
      measureAt(dataDir, size, (what, cost, parts) => note(unit, what, size, shareOf(cost, parts))),
    );
const report = [...tables].map(([unit, rows]) => tableOf(unit, [...rows.values()])).join("\n\n");
console.log(`\n${report}`);
if (flags.write) {
  const page = join(import.meta.dirname, "..", "..", "docs", "figures.md");
  const [head = "", , tail = ""] = (await readFile(page, "utf8")).split(
    /(?<=<!-- scale:begin -->)|(?=<!-- scale:end -->)/,
  );
  await writeFile(page, `${head}\n\n${report}\n\n${tail}`);
}
