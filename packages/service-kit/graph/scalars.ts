import { GraphQLScalarType, Kind, type ValueNode } from "graphql";
import { badInput } from "../errors/errors.ts";

/** Epoch milliseconds inside; RFC 3339, UTC, milliseconds at the edge. */
export const DateTimeScalar = new GraphQLScalarType<number, string>({
  name: "DateTime",
  description: "A time: RFC 3339 in UTC with milliseconds, as in 2026-01-31T12:00:00.000Z.",
  serialize(value) {
    if (typeof value === "string") return new Date(value).toISOString();
    if (typeof value === "number" && Number.isFinite(value)) return new Date(value).toISOString();
    if (value instanceof Date) return value.toISOString();
    throw new TypeError(`DateTime cannot be made of ${typeof value}`);
  },
  parseValue: parseDateTime,
  parseLiteral(node) {
    return parseDateTime(node.kind === Kind.STRING ? node.value : null);
  },
});

function parseDateTime(value: unknown): number {
  const time = typeof value === "string" ? timeOf(value) : null;
  if (time === null)
    throw badInput([{ path: "", message: "A DateTime is RFC 3339 text, as in 2026-01-31T12:00:00.000Z" }]);
  return time;
}

const RFC3339 = /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))$/;

/**
 * Epoch milliseconds of a time by RFC 3339, section 5.6; null when the calendar or the clock has no such time. A leap second, which comes at
 * the end of a June or December in UTC, is the first moment after it, as POSIX counts.
 */
function timeOf(text: string): number | null {
  const [, year, month, day, hour, minute, second, fraction = "", sign, offsetHour = "0", offsetMinute = "0"] =
    RFC3339.exec(text) ?? [];
  if (year === undefined || Number(hour) > 23 || Number(minute) > 59) return null;
  if (Number(offsetHour) > 23 || Number(offsetMinute) > 59) return null;
  const date = new Date(0);
  date.setUTCFullYear(Number(year), Number(month) - 1, Number(day));
  // JavaScript counts on past the end of a month.
  if (date.getUTCMonth() !== Number(month) - 1 || date.getUTCDate() !== Number(day)) return null;
  const offset = (Number(offsetHour) * 60 + Number(offsetMinute)) * (sign === "-" ? -1 : 1);
  const atMinute = date.getTime() + (Number(hour) * 60 + Number(minute) - offset) * 60_000;
  const isLeapSecond = second === "60" && /-(?:06-30|12-31)T23:59/.test(new Date(atMinute).toISOString());
  if (Number(second) > 59 && !isLeapSecond) return null;
  return atMinute + Number(second) * 1_000 + (isLeapSecond ? 0 : Number(fraction.slice(0, 3).padEnd(3, "0")));
}

export const JsonScalar = new GraphQLScalarType<unknown, unknown>({
  name: "JSON",
  description: "Any JSON value.",
  serialize: (value) => value,
  parseValue: (value) => value,
  parseLiteral: (node, variables) => literalToJson(node, variables ?? {}),
});

function literalToJson(node: ValueNode, variables: Record<string, unknown>): unknown {
  switch (node.kind) {
    case Kind.STRING:
    case Kind.BOOLEAN:
    case Kind.ENUM:
      return node.value;
    case Kind.INT:
    case Kind.FLOAT:
      return Number(node.value);
    case Kind.NULL:
      return null;
    case Kind.VARIABLE:
      return variables[node.name.value];
    case Kind.LIST:
      return node.values.map((value) => literalToJson(value, variables));
    case Kind.OBJECT:
      return Object.fromEntries(node.fields.map((field) => [field.name.value, literalToJson(field.value, variables)]));
  }
}
