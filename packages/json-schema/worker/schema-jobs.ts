import type { Problem } from "@toolyard/service-kit";
import type { JsonBounds, JsonObject } from "@toolyard/service-kit/bounded-json.ts";

/** Of a value that is checked against a schema: as it is given, and with the schema's defaults in it. */
export const VALUE_BOUNDS: JsonBounds = { depth: 64, characters: 262_144 };

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
