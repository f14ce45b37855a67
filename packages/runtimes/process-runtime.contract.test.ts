import { test } from "vitest";
import { openProcessHarness, whyNoBubblewrap } from "./process-runtime.harness.ts";
import { runtimeContract } from "./runtime.contract.ts";

runtimeContract("process, unisolated", () => openProcessHarness({ isolation: "none" }));

const problem = await whyNoBubblewrap();
if (problem === null)
  runtimeContract("process, under bubblewrap", () => openProcessHarness({ isolation: "bubblewrap" }));
else test.skip(`runtime contract: process, under bubblewrap: ${problem}`, () => undefined);
