import fc from "fast-check";
import { expect, test } from "vitest";
import { DateTimeScalar } from "./scalars.ts";

const parse = (text: unknown) => DateTimeScalar.parseValue(text);

test.each([
  ["2026-01-31T12:00:00.000Z", "2026-01-31T12:00:00.000Z"],
  ["2028-02-29t00:00:00z", "2028-02-29T00:00:00.000Z"],
  ["2000-02-29T23:59:59.9999Z", "2000-02-29T23:59:59.999Z"],
  ["2026-12-31T23:30:00-01:00", "2027-01-01T00:30:00.000Z"],
  ["2026-01-01 00:10:00.5+23:59", "2025-12-31T00:11:00.500Z"],
  ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"],
  ["2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000Z"],
  ["1997-06-30T20:59:60.5-03:00", "1997-07-01T00:00:00.000Z"],
])("%s is a DateTime", (text, time) => {
  expect(DateTimeScalar.serialize(parse(text))).toBe(time);
});

test.each([
  "2027-02-30T00:00:00Z",
  "2027-02-29T00:00:00Z",
  "1900-02-29T00:00:00Z",
  "2027-04-31T00:00:00Z",
  "2027-00-10T00:00:00Z",
  "2027-13-10T00:00:00Z",
  "2027-01-00T00:00:00Z",
  "2027-01-32T00:00:00Z",
  "2027-01-01T24:00:00Z",
  "2027-01-01T12:60:00Z",
  "2027-01-01T12:00:61Z",
  "2027-01-01T12:00:60Z",
  "2027-03-31T23:59:60Z",
  "2027-01-01T12:00:00+24:00",
  "2027-01-01T12:00:00+00:60",
  "2027-01-01T12:00:00",
  "2027-01-01",
  "2027-01-01T12:00:00.Z",
  " 2027-01-01T12:00:00Z",
  "+12027-01-01T12:00:00Z",
  "",
  12,
  null,
])("%j is none", (text) => {
  expect(() => parse(text)).toThrow("RFC 3339");
});

test("each time comes back as it went out", () => {
  fc.assert(
    fc.property(fc.date({ min: new Date("0001-01-01"), max: new Date("9999-12-31"), noInvalidDate: true }), (date) => {
      expect(parse(date.toISOString())).toBe(date.getTime());
    }),
  );
});
