import { expect, test } from "vitest";
import { namedLine } from "./part-log.ts";

test("a line of a part's log has the part as a field, and any other its name in front", () => {
  expect(JSON.parse(namedLine("gateway-2", '{"level":"info","message":"request"}'))).toEqual({
    part: "gateway-2",
    level: "info",
    message: "request",
  });
  for (const line of ["Toolyard could not start: no.", "{}", "{ not JSON"])
    expect(namedLine("worker", line)).toBe(`[worker] ${line}`);
});
