import fc from "fast-check";
import { expect, test } from "vitest";
import { createCallList, type Listed } from "./call-list.ts";

test("the list has what was added and not yet deleted, in whatever order they come and go", () => {
  fc.assert(
    fc.property(fc.array(fc.option(fc.nat(), { nil: null }), { maxLength: 60 }), (steps) => {
      const list = createCallList<Listed>();
      const expected = new Set<Listed>();
      for (const step of steps) {
        const item = step === null ? undefined : [...expected][step % Math.max(1, expected.size)];
        if (item) {
          expected.delete(item);
          list.delete(item);
        } else {
          const added: Listed = { place: -1 };
          expected.add(added);
          list.add(added);
        }
        expect(list.size()).toBe(expected.size);
        expect(new Set(list.all())).toEqual(expected);
      }
    }),
  );
});
