/**
 * Prints how long a random access to 64 MB takes, in ns of CPU. What starts processes and runs JavaScript is as fast as that. Some 100 to 200 are usual; a
 * host whose other guests use its memory, too, has been seen at 1,000, where all tests took three times as long.
 */
const LENGTH = 1 << 24;
const ACCESSES = 5_000_000;

// One cycle through all elements, by Sattolo's algorithm, so that no access can be foreseen.
const next = new Int32Array(LENGTH).map((_, index) => index);
let drawn = 12_345;
for (let last = LENGTH - 1; last > 0; last--) {
  drawn = (Math.imul(drawn, 1_103_515_245) + 12_345) & 0x7fffffff;
  const other = drawn % last;
  [next[last], next[other]] = [next[other], next[last]];
}

function follow(count) {
  let at = 0;
  for (let step = 0; step < count; step++) at = next[at];
  return at;
}
// Compiled by then.
follow(1_000_000);
const begun = process.cpuUsage();
follow(ACCESSES);
const { user, system } = process.cpuUsage(begun);
process.stdout.write(`${Math.round(((user + system) * 1_000) / ACCESSES)}\n`);
