/**
 * `npm run compose -- --config supergraph.yaml [--output FILE]`: composes a supergraph as `rover supergraph compose` does. The supergraph
 * goes to stdout or to FILE, hints and errors to stderr; exit code 0 when there is a supergraph, 1 when there is none.
 */
import { readFile, writeFile } from "node:fs/promises";
import { text } from "node:stream/consumers";
import { parseArgs } from "node:util";
import { messageOf } from "@toolyard/service-kit";
import { compose } from "./composition.ts";
import { describeProblems } from "./composition-problem.ts";
import { parseSupergraphConfig } from "./supergraph-config.ts";
import { readSubgraphs } from "./subgraph-schemas.ts";

const USAGE = "Usage: npm run --silent compose -- --config FILE [--output FILE]    (--config - reads it from stdin)";

async function run(): Promise<void> {
  const { values } = parseArgs({
    options: {
      config: { type: "string" },
      output: { type: "string", short: "o" },
      help: { type: "boolean", short: "h" },
    },
  });
  const { config, output } = values;
  if (values.help) {
    process.stdout.write(`${USAGE}\n`);
    return;
  }
  if (config === undefined) throw new Error(`--config is missing: which subgraphs?\n${USAGE}`);
  const yaml = config === "-" ? await text(process.stdin) : await readFile(config, "utf8");
  const { subgraphs } = parseSupergraphConfig(yaml, { file: config === "-" ? "stdin" : config, env: process.env });
  const composition = compose(await readSubgraphs(subgraphs));
  if ("errors" in composition)
    throw new Error(`The subgraphs do not compose:\n${describeProblems(composition.errors)}`);
  if (composition.hints.length > 0) process.stderr.write(`Hints:\n${describeProblems(composition.hints)}\n`);
  const supergraph = `${composition.supergraphSdl.trim()}\n`;
  if (output === undefined) process.stdout.write(supergraph);
  else await writeFile(output, supergraph);
}

try {
  await run();
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = 1;
}
