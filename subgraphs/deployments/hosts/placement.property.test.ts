import fc from "fast-check";
import { expect, test } from "vitest";
import { chooseHosts, type Candidate } from "./placement.ts";

const candidates: fc.Arbitrary<Candidate[]> = fc.uniqueArray(
  fc.record({
    id: fc.string({ minLength: 1, maxLength: 3 }),
    own: fc.nat(4),
    all: fc.nat(50),
    room: fc.oneof(fc.nat(5), fc.constant(Infinity)),
  }),
  { selector: ({ id }) => id, maxLength: 6 },
);

test("as many places are found as there is room for, and no host gets more than it has", () => {
  fc.assert(
    fc.property(candidates, fc.nat(16), (hosts, count) => {
      const chosen = chooseHosts(count, hosts);
      const room = hosts.reduce((sum, host) => sum + host.room, 0);
      expect(chosen).toHaveLength(Math.min(count, room));
      for (const { id, room: most } of hosts)
        expect(chosen.filter((each) => each === id).length).toBeLessThanOrEqual(most);
    }),
  );
});

test("a deployment is spread: a host with room never has two replicas fewer of it than one that got another", () => {
  fc.assert(
    fc.property(candidates, fc.nat(16), (hosts, count) => {
      const chosen = chooseHosts(count, hosts);
      const after = hosts.map((host) => {
        const got = chosen.filter((id) => id === host.id).length;
        return { got, own: host.own + got, room: host.room - got };
      });
      const fewest = Math.min(...after.filter(({ room }) => room > 0).map(({ own }) => own));
      for (const { got, own } of after) if (got > 0) expect(own).toBeLessThanOrEqual(fewest + 1);
    }),
  );
});

test("of hosts with as many of it, the one with the fewest replicas is taken, and else the first", () => {
  const host = (id: string, all: number, own = 0): Candidate => ({ id, own, all, room: 9 });
  expect(chooseHosts(1, [host("a", 3), host("b", 2), host("c", 2)])).toEqual(["b"]);
  expect(chooseHosts(2, [host("a", 3), host("b", 0, 1)])).toEqual(["a", "b"]);
  expect(chooseHosts(3, [host("a", 9), host("b", 0)])).toEqual(["b", "a", "b"]);
});
