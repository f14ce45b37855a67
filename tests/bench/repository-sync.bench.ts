/**
 * What a sync with a large repository takes in memory: `node tests/bench/repository-sync.bench.ts`. Two Toolyards side by side as `npm start` has
 * them; one syncs a repository of 5,000 files in 100 folders, all of which it must look into, of which 30 become documents. Its highest resident
 * memory may be no more than 60 MB above that of the idle one. Linux only.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { eventually, graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { startGitHubServer } from "@toolyard/testing/github-server.ts";

const FILES = 5_000;
const FOLDERS = 100;
const DOCUMENTS = 30;
const DOCUMENT_BYTES = 102_400;
const MOST_EXTRA_MB = 60;

const root = join(import.meta.dirname, "..", "..");
const { scripts } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { scripts: { start: string } };
const start = scripts.start.replaceAll(/\$\{\w+:-(\d+)\}/g, "$1");
const env = {
  NODE_OPTIONS: (start.match(/--\S+/g) ?? []).join(" "),
  ...Object.fromEntries([...start.matchAll(/(MALLOC_\w+)=(\d+)/g)].map(([, name, value]) => [name, value ?? ""])),
};

const line = (index: number) => `Line ${index} of a document about weather, its stations and how they are read.\n`;
const document = (seed: number) =>
  Array.from({ length: DOCUMENT_BYTES / line(0).length }, (_, index) => line(seed * 7_919 + index)).join("");
const files = Object.fromEntries(
  Array.from({ length: FILES - 1 }, (_, index): [string, string] => {
    const folder = `packages/p${index % FOLDERS}`;
    return index < DOCUMENTS ? [`${folder}/guide.md`, document(index)] : [`${folder}/f${index}.ts`, `// ${index}`];
  }),
);
files["toolyard.yaml"] = `name: Weather\nknowledge: ["**/*.md"]\n`;

await using github = await startGitHubServer({ "acme/weather": { main: files } });
const variables = { ...env, GITHUB_API_URL: github.url, GITHUB_TOKEN: "ghp_of_the_bench" };
await using syncing = await startToolyard({ env: variables });
await using idle = await startToolyard({ env: variables });

/** A tool that is connected; in both, so that they differ by the sync alone. */
async function prepare({ url, adminPassword }: RunningToolyard) {
  const graph = graphqlClient(url, await logIn(url, "admin", adminPassword));
  const { createTool } = await graph.query<{ createTool: { id: string } }>(
    `mutation { createTool(input: { name: "W", description: "", launch: { stdio: { command: "node" } } }) { id } }`,
  );
  const input = { toolId: createTool.id, owner: "acme", repository: "weather" };
  const { connectRepository } = await graph.query<{ connectRepository: { id: string } }>(
    `mutation ($input: ConnectRepositoryInput!) { connectRepository(input: $input) { id } }`,
    { input },
  );
  return { graph, connectionId: connectRepository.id };
}

const statusFile = ({ process: { pid = 0 } }: RunningToolyard, name: string) => `/proc/${pid}/${name}`;
const clearPeak = (toolyard: RunningToolyard) => writeFile(statusFile(toolyard, "clear_refs"), "5");
async function memoryOf(toolyard: RunningToolyard, field: "VmHWM" | "VmRSS"): Promise<number> {
  const text = await readFile(statusFile(toolyard, "status"), "utf8");
  return (Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(text)?.[1] ?? NaN) * 1_024) / 1_000_000;
}

const { graph, connectionId } = await prepare(syncing);
await prepare(idle);
for (const toolyard of [syncing, idle]) await clearPeak(toolyard);
const before = await memoryOf(syncing, "VmRSS");
const began = performance.now();
const { syncRepository } = await graph.query<{ syncRepository: { id: string } }>(
  "mutation ($id: ID!) { syncRepository(connectionId: $id) { id } }",
  { id: connectionId },
);
interface Ended {
  task: { status: string; error: { message: string } | null; result: { documentIds: string[] } | null };
}
const { task } = await eventually(
  "the sync's end",
  async () => {
    const found = await graph.query<Ended>(
      "query ($id: ID!) { task(id: $id) { status error { message } result { ... on SyncReport { documentIds } } } }",
      { id: syncRepository.id },
    );
    return ["QUEUED", "RUNNING"].includes(found.task.status) ? null : found;
  },
  240_000,
);
const seconds = (performance.now() - began) / 1_000;
if (task.result?.documentIds.length !== DOCUMENTS)
  throw new Error(`The sync did not bring ${DOCUMENTS} documents: ${task.error?.message ?? task.status}`);

const [peak, beside] = [await memoryOf(syncing, "VmHWM"), await memoryOf(idle, "VmHWM")];
const extra = peak - beside;
const text = (megabytes: number) => `${megabytes.toFixed(1)} MB`;
console.log(
  `${FILES} files, ${DOCUMENTS} documents of ${DOCUMENT_BYTES / 1_024} KiB, ${github.requests.length} requests, ${seconds.toFixed(1)} s`,
);
console.log(
  `before ${text(before)}, highest ${text(peak)}, the idle one ${text(beside)}: ${text(extra)} more (at most ${MOST_EXTRA_MB})`,
);
if (extra > MOST_EXTRA_MB) process.exitCode = 1;
