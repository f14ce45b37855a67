import { createLogger } from "@toolyard/service-kit";
import { afterAll, describe } from "vitest";
import { analysisProviderContract } from "../analysis-provider.contract.ts";
import { createIsolatedRules } from "./isolated-rules.ts";

describe("the rules in processes of their own", () => {
  const rules = createIsolatedRules({ logger: createLogger({ level: "silent", name: "test" }) });
  afterAll(() => rules.close());
  analysisProviderContract(() => rules);
});
