import { afterAll } from "vitest";
import { isDistributed } from "./mode.ts";

// After all else of a test file: a Toolyard's data on the servers is there for as long as one may be started on its DATA_DIR.
if (isDistributed) {
  const { dropServerData } = await import("./server-data.ts");
  afterAll(() => dropServerData());
}
