/** How the Toolyard of end-to-end tests runs: as one process (`npm start`), or each part as its own (`npm run start:distributed`). */
export const isDistributed = process.env["TOOLYARD_MODE"] === "distributed";

/** Whether a test is left out, and why: it is about what only the embedded default has. To be given to `skipIf`. */
export function embeddedOnly(reason: string): boolean {
  if (isDistributed) process.stderr.write(`Left out in distributed mode: ${reason}\n`);
  return isDistributed;
}
