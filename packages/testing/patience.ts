/**
 * How many times as long as usual tests wait: TEST_PATIENCE, which .ci/run sets on a machine that it finds to be slow. Deadlines only end what
 * hangs, and say what was waited for.
 * @default 1
 */
export const PATIENCE = Number(process.env["TEST_PATIENCE"] ?? 1);
