import fc from "fast-check";
import { expect, test } from "vitest";
import { createSessionIds } from "./session-id.ts";

const key = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString("base64url"));
const ownId = fc.string({ minLength: 1, maxLength: 80, unit: "grapheme-ascii" });
const replicaId = fc.oneof(fc.uuid(), fc.string({ minLength: 1, maxLength: 40 }));

test("what was signed is opened by any proxy with the key, for that user, and is good in a header", () => {
  fc.assert(
    fc.property(key, replicaId, ownId, fc.string(), (secret, replica, own, subject) => {
      const signed = createSessionIds({ key: secret }).sign({ replicaId: replica, ownId: own }, subject);
      expect(signed).toMatch(/^[\w-]+$/);
      const other = createSessionIds({ key: secret });
      const expected = { replicaId: replica, ownId: own };
      expect(other.open(signed, subject)).toMatchObject(expected);
      expect(other.open(signed, subject)).toMatchObject(expected); // remembered
    }),
  );
});

test("the client that opened the session is told again, and is part of what is signed", () => {
  const label = fc.stringMatching(/^[A-Za-z0-9 @/._\uFFFD-]{1,90}$/);
  fc.assert(
    fc.property(key, replicaId, ownId, label, label, (secret, replica, own, name, version) => {
      const place = { replicaId: replica, ownId: own, client: { name, version } };
      const signed = createSessionIds({ key: secret }).sign(place, "user");
      expect(createSessionIds({ key: secret }).open(signed, "user")).toEqual(place);
      expect(createSessionIds({ key: secret }).open(signed, "other")).toBeNull();
    }),
  );
});

test("nobody else opens it: not with another subject, another key, a changed or another text", () => {
  fc.assert(
    fc.property(
      key,
      key,
      fc.uuid(),
      ownId,
      fc.string(),
      fc.string(),
      fc.nat(),
      (secret, otherSecret, replica, own, subject, other, at) => {
        fc.pre(subject !== other && secret !== otherSecret);
        const ids = createSessionIds({ key: secret });
        const signed = ids.sign({ replicaId: replica, ownId: own }, subject);
        expect(ids.open(signed, other)).toBeNull();
        const fresh = createSessionIds({ key: secret });
        expect(fresh.open(signed, other)).toBeNull();
        expect(createSessionIds({ key: otherSecret }).open(signed, subject)).toBeNull();
        const place = at % signed.length;
        const changed = `${signed.slice(0, place)}${signed[place] === "A" ? "B" : "A"}${signed.slice(place + 1)}`;
        expect(fresh.open(changed, subject)).toBeNull();
        expect(fresh.open(own, subject)).toBeNull();
        expect(fresh.open(`${signed}=`, subject)).toBeNull();
      },
    ),
  );
});
