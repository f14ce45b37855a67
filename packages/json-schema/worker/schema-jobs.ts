import type { Problem } from "@toolyard/service-kit";
import type { JsonObject } from "../bounded-json.ts";

/** What runs in the process. See SchemaValidator. */
export interface SchemaJobs {
  /** Empty when the schema can be used. */
  checkSchema(job: { schema: JsonObject; path: string }): Problem[];
  checkValue(job: {
    schema: JsonObject;
    value: JsonObject;
    path: string;
  }): { value: JsonObject } | { problems: Problem[] };
}
