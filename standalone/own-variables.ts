import { flag, integer } from "@toolyard/service-kit/process/config.ts";
import { PROXY_MAX_HEAP_MB } from "./supervised-process.ts";

/** Of what starts the parts of a Toolyard on one machine. */
export const ownVariables = {
  SAMPLE: flag(true),
  PROXY_MAX_HEAP_MB: integer({ fallback: PROXY_MAX_HEAP_MB, min: 128, max: 65_536 }),
};
