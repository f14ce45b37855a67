import { describe } from "vitest";
import { busContract } from "./bus.contract.ts";
import { createInProcessBus } from "./bus.ts";

describe("the bus within one process", () =>
  busContract(async (run) => {
    const bus = createInProcessBus();
    await run([bus, bus]);
  }));
