import type { EntitySchemaColumnOptions } from "typeorm";

/** What is sealed of a column's values. */
export type Sealed = "whole" | "launch";

/** Column definitions in one place, so that every entity keeps ids, times and JSON alike. Spread and extend them. */
export const column = {
  /** A UUID, or another short opaque id. */
  id: { type: "varchar", length: 64 },
  primaryId: { type: "varchar", length: 64, primary: true },
  nullableId: { type: "varchar", length: 64, nullable: true },
  /** Short text: names, codes, enum values. */
  name: { type: "varchar", length: 255 },
  nullableName: { type: "varchar", length: 255, nullable: true },
  text: { type: "text" },
  nullableText: { type: "text", nullable: true },
  /** Epoch milliseconds. */
  time: { type: "bigint", transformer: { to: (value: unknown) => value, from: fromBigint } },
  nullableTime: { type: "bigint", nullable: true, transformer: { to: (value: unknown) => value, from: fromBigint } },
  integer: { type: "integer" },
  nullableInteger: { type: "integer", nullable: true },
  real: { type: "double" },
  nullableReal: { type: "double", nullable: true },
  flag: { type: "boolean" },
  /** Any JSON value, as text. */
  json: { type: "text", transformer: { to: toJson, from: fromJson } },
  nullableJson: { type: "text", nullable: true, transformer: { to: toJson, from: fromJson } },
  /** What a sealer made, and nothing else: `rotate-secrets` counts those that open with no key. */
  sealed: { type: "text", sealed: "whole" },
  nullableSealed: { type: "text", nullable: true, sealed: "whole" },
  /** A launch as JSON, whose secret values and URL are sealed. */
  launch: { type: "text", sealed: "launch", transformer: { to: toJson, from: fromJson } },
  nullableLaunch: { type: "text", nullable: true, sealed: "launch", transformer: { to: toJson, from: fromJson } },
} as const satisfies Record<string, EntitySchemaColumnOptions & { sealed?: Sealed }>;

function toJson(value: unknown): unknown {
  // Find operators (In, IsNull, …) pass through.
  return value === null || value === undefined ? value : JSON.stringify(value);
}

function fromJson(value: unknown): unknown {
  return typeof value === "string" ? JSON.parse(value) : value;
}

function fromBigint(value: unknown): unknown {
  return value === null || value === undefined ? value : Number(value);
}
