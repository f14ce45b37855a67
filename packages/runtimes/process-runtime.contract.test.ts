import { test } from "vitest";
import { noCgroups } from "./process/cgroups.ts";
import { openProcessHarness, whyNoBubblewrap } from "./process-runtime.harness.ts";
import { runtimeContract } from "./runtime.contract.ts";

runtimeContract("process, unisolated", () => openProcessHarness({ isolation: "none" }));
runtimeContract("process, unisolated, without control groups", () =>
  openProcessHarness({ isolation: "none", cgroups: noCgroups }),
);

const problem = await whyNoBubblewrap();
if (problem === null)
  runtimeContract("process, under bubblewrap", () => openProcessHarness({ isolation: "bubblewrap" }));
else test.skip(`runtime contract: process, under bubblewrap: ${problem}`, () => undefined);
