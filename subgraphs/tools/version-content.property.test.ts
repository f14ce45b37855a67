import { createSealer, newId } from "@toolyard/service-kit";
import fc from "fast-check";
import { expect, test } from "vitest";
import { SECRET_KEY } from "./fixtures/subgraph.ts";
import { DEFAULT_OPTIONS, variablesOf, type StoredLaunch, type Variable } from "@toolyard/launch";
import { createVersionSecrets, type VersionContent } from "./version-content.ts";

const secrets = createVersionSecrets({ sealer: createSealer({ secretKey: SECRET_KEY }), secretKey: SECRET_KEY });

const text = fc.string({ unit: "grapheme", maxLength: 12 });
const variable: fc.Arbitrary<Variable> = fc.record({ name: text, value: text, secret: fc.boolean() });
const launch: fc.Arbitrary<StoredLaunch> = fc.record({
  kind: fc.constant("stdio" as const),
  command: text,
  args: fc.array(text, { maxLength: 3 }),
  env: fc.array(variable, { maxLength: 4 }),
  workingDirectory: fc.option(text, { nil: null }),
  sessions: fc.constantFrom("ISOLATED" as const, "SHARED" as const),
  options: fc
    .record({
      timeoutSeconds: fc.nat(),
      maxConcurrentCalls: fc.option(fc.nat()),
      health: fc
        .record({ livenessPath: fc.option(text, { nil: null }), intervalSeconds: fc.nat() })
        .map((health) => ({ ...DEFAULT_OPTIONS.health, ...health })),
      resources: fc.constant(null),
      enforceApproval: fc.boolean(),
    })
    .map((given) => ({ ...DEFAULT_OPTIONS, ...given })),
});
const configSchema = fc.option(fc.dictionary(text, fc.jsonValue({ maxDepth: 2 })));
const content = fc.record({ launch, configSchema }) satisfies fc.Arbitrary<
  Pick<VersionContent, "launch" | "configSchema">
>;

/** The same value with the keys of every object in another order. */
function shuffled(value: unknown, reverse: boolean): unknown {
  if (Array.isArray(value)) return value.map((item) => shuffled(item, reverse));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([key, item]) => [key, shuffled(item, reverse)] as const);
  return Object.fromEntries(
    reverse ? entries.toReversed() : entries.toSorted(([one], [other]) => (one < other ? -1 : 1)),
  );
}

test("a digest is the same in whatever order keys stand", () => {
  fc.assert(
    fc.property(content, fc.boolean(), (made, reverse) => {
      // Reordering keys does not change a type.
      expect(secrets.digest(shuffled(made, reverse) as typeof made)).toBe(secrets.digest(made));
    }),
  );
});

test("a digest is the same however often secrets are sealed and opened, and never of the sealed text", () => {
  fc.assert(
    fc.property(content, (made) => {
      const [first, second] = [newId(), newId()];
      const sealed = secrets.seal(made.launch, first);
      const again = secrets.seal(secrets.open(sealed, first), second);
      expect(secrets.digest({ ...made, launch: secrets.open(again, second) })).toBe(secrets.digest(made));
      const values = variablesOf(sealed).filter((item) => item.secret);
      expect(new Set(values.map((item) => item.value)).size).toBe(values.length);
      for (const [index, item] of variablesOf(sealed).entries()) {
        const plain = variablesOf(made.launch)[index]?.value;
        if (item.secret) expect(item.value).toMatch(/^sealed:v1:/);
        else expect(item.value).toBe(plain);
      }
    }),
  );
});

test("a digest differs when any value differs, secret or not", () => {
  fc.assert(
    fc.property(content, variable, fc.string({ minLength: 1, unit: "grapheme" }), (made, item, more) => {
      const withItem = (value: string): Pick<VersionContent, "launch" | "configSchema"> =>
        made.launch.kind === "stdio"
          ? { ...made, launch: { ...made.launch, env: [...made.launch.env, { ...item, value }] } }
          : made;
      expect(secrets.digest(withItem(item.value + more))).not.toBe(secrets.digest(withItem(item.value)));
      expect(secrets.digest({ ...made, configSchema: { more } })).not.toBe(
        secrets.digest({ ...made, configSchema: {} }),
      );
    }),
  );
});
