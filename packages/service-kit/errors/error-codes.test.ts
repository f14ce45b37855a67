import { readFileSync } from "node:fs";
import { globSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { closeCodeOf, graphqlErrors, graphqlStatusOf, serviceErrors, type ErrorCode } from "./error-codes.ts";
import { preconditionFailed, problemDetails, ToolyardError } from "./errors.ts";

const root = join(import.meta.dirname, "..", "..", "..");
const codes = Object.keys(serviceErrors) as ErrorCode[];

function rowsOf(
  table: Record<string, { status: number | null; graphqlStatus?: number; laterStatus?: number; meaning: string }>,
): string[] {
  return Object.entries(table).map(([code, { status, graphqlStatus, laterStatus, meaning }]) => {
    const later = laterStatus === undefined ? "" : `, ${laterStatus}`;
    return [code, `${status ?? "–"}${later}`, `${graphqlStatus ?? status ?? "–"}${later}`, meaning].join(" | ");
  });
}

test("docs/errors.md has the rows of the table, and no others", () => {
  const text = readFileSync(join(root, "docs", "errors.md"), "utf8");
  const rows = text.split("\n").filter((line) => /^\| `[A-Z]/.test(line));
  const told = rows.map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim())
      .join(" | ")
      .replace(/^`(\w+)`/, "$1"),
  );
  expect(told).toEqual([...rowsOf(serviceErrors), ...rowsOf(graphqlErrors)]);
});

test("no code is made that is not in the table", () => {
  const sources = globSync(["gateway/**/*.ts", "packages/**/*.ts", "subgraphs/**/*.ts"], {
    cwd: root,
    exclude: (name) => /node_modules|fixtures|generated|\.(test|contract|fixture)\.ts$/.test(name),
  });
  expect(sources.length).toBeGreaterThan(300);
  const made = sources.flatMap((file) =>
    [...readFileSync(join(root, file), "utf8").matchAll(/\bcode: "([A-Z][A-Z_]+)"/g)].map(([, code]) => ({
      file,
      code,
    })),
  );
  expect(made.length).toBeGreaterThan(10);
  expect(made.filter(({ code = "" }) => !(code in serviceErrors) && !(code in graphqlErrors))).toEqual([]);
});

test("PRECONDITION_FAILED says what is unmet: nothing makes it but what asks for it", () => {
  const sources = globSync(["{gateway,packages,subgraphs,cli,standalone,scripts}/**/*.ts"], {
    cwd: root,
    exclude: (name) => /node_modules|\.test\.ts$/.test(name),
  });
  const made = sources.filter((file) =>
    /ToolyardError\(\s*"PRECONDITION_FAILED"/.test(readFileSync(join(root, file), "utf8")),
  );
  expect(made).toEqual(["packages/service-kit/errors/errors.ts"]);
  const unmet = [{ gate: "feature", reason: "Not yet." }];
  expect(preconditionFailed("feature", "Not yet.")).toMatchObject({ message: "Not yet.", extensions: { unmet } });
  expect(problemDetails(preconditionFailed("feature", "Not yet."), "r")).toMatchObject({ status: 412, unmet });
});

test("an error has its status in REST, and that of GraphQL over HTTP there", () => {
  for (const code of codes)
    expect(problemDetails(new ToolyardError(code, "x"), "r").status).toBe(serviceErrors[code].status);
  expect(graphqlStatusOf("BAD_USER_INPUT")).toBe(400);
  expect(graphqlStatusOf("RATE_LIMITED")).toBe(429);
  expect(graphqlStatusOf("GRAPHQL_PARSE_FAILED")).toBe(400);
  // Nothing was begun, wherever it is said.
  const away = new ToolyardError("UPSTREAM_UNAVAILABLE", "x", { retryAfterSeconds: 5 });
  expect([problemDetails(away, "r").status, graphqlStatusOf("UPSTREAM_UNAVAILABLE", 5)]).toEqual([503, 503]);
  expect([graphqlStatusOf("UPSTREAM_UNAVAILABLE"), graphqlStatusOf("RATE_LIMITED", 5)]).toEqual([502, 429]);
  // Of a subgraph of others, or none.
  expect([graphqlStatusOf("TEAPOT"), graphqlStatusOf("constructor"), graphqlStatusOf(undefined)]).toEqual([
    400, 400, 400,
  ]);
});

test("a socket that is closed with 4401 is not opened again with the same credential; all others may be", () => {
  expect(codes.filter((code) => closeCodeOf(code) === 4401)).toEqual(["UNAUTHENTICATED"]);
  expect(closeCodeOf("UPSTREAM_UNAVAILABLE")).toBe(4403);
});
