/** How the Toolyard of end-to-end tests runs: as one process (`npm start`), or each part as its own (`npm run start:distributed`). */
export const isDistributed = process.env["TOOLYARD_MODE"] === "distributed";

/** Whether a test is left out, and why: it is about what only the embedded default has. To be given to `skipIf`. */
export function embeddedOnly(reason: string): boolean {
  if (isDistributed) process.stderr.write(`Left out in distributed mode: ${reason}\n`);
  return isDistributed;
}

const OWN_SERVERS = "it is about one process that has its data on one of the servers";
/** Files of end-to-end tests that are left out as a whole, with the reason. */
const EMBEDDED_ONLY: Record<string, string> = {
  migrate: "it is about SQLite's files; server-commands.test.ts has the same on MySQL",
  mongodb: OWN_SERVERS,
  mysql: OWN_SERVERS,
  "server-commands": OWN_SERVERS,
  "full-disk": "it is about the disk that SQLite is on",
};

/** Whether tests have their long forms, which .ci/soak has the time for; another SOAK has the short form of those that are left out without. */
export const isSoak = process.env["SOAK"] === "long";

/** What `npm test` has no time for. */
const LONG = ["tests/e2e/soak.test.ts"];

/** The files of TESTS_LEFT_OUT, those of `LONG` without SOAK, and in distributed mode those of `EMBEDDED_ONLY`; says why, once, though each of Vitest's projects reads its configuration. */
export function filesLeftOut(): string[] {
  // Projects do not heed --exclude.
  const named = [...(process.env["TESTS_LEFT_OUT"]?.match(/\S+/g) ?? []), ...(process.env["SOAK"] ? [] : LONG)];
  if (!isDistributed) return named;
  const lines = Object.entries(EMBEDDED_ONLY).map(([name, reason]) => `${name}.test.ts: ${reason}`);
  if (!process.env["LEFT_OUT_TOLD"]) process.stderr.write(`Left out in distributed mode:\n  ${lines.join("\n  ")}\n`);
  process.env["LEFT_OUT_TOLD"] = "true";
  return [...named, ...Object.keys(EMBEDDED_ONLY).map((name) => `tests/e2e/${name}.test.ts`)];
}
