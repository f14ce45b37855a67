/**
 * The CPU time of this process that passes from now until the returned function is called, in ms. Unlike a clock, it does not
 * count what other programs on the machine take, so a bound on it holds wherever the tests run.
 */
export function cpuTime(): () => number {
  const from = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(from);
    return (user + system) / 1_000;
  };
}
