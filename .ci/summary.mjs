/**
 * Says how runs of Vitest have ended, in a last line `N passed, N failed`.
 *
 *   node .ci/summary.mjs FOLDER STATUS [PROVIDED…]
 *
 * FOLDER has their reports, `report*.json`; STATUS is not 0 where a command failed. PROVIDED are parts of names of tests that must not be skipped, since what
 * they need is here.
 */
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

const say = (line) => void process.stdout.write(`${line}\n`);

const [folder, status, ...provided] = process.argv.slice(2);
let passed = 0;
let failed = 0;
const skipped = [];
for (const file of readdirSync(folder).filter((name) => /^report.*\.json$/.test(name))) {
  let report;
  try {
    report = JSON.parse(readFileSync(join(folder, file), "utf8"));
  } catch (error) {
    say(`ci: ${file} cannot be read: ${error.message}`);
    failed++;
    continue;
  }
  passed += report.numPassedTests;
  failed += report.numFailedTests;
  failed += report.testResults.filter((each) => each.status === "failed" && each.assertionResults.length === 0).length;
  const tests = report.testResults.flatMap((each) => each.assertionResults);
  skipped.push(
    ...tests.filter((test) => test.status !== "passed" && test.status !== "failed").map(({ fullName }) => fullName),
  );
}
if (Number(status) !== 0 && failed === 0) failed = 1;
for (const name of skipped) {
  const needless = provided.some((part) => name.includes(part));
  if (needless) failed++;
  say(`ci: skipped${needless ? ", though what it needs is here" : ""}: ${name}`);
}
say(`${passed} passed, ${failed} failed${skipped.length ? `, ${skipped.length} skipped` : ""}`);
process.exitCode = failed === 0 ? 0 : 1;
