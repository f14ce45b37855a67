import { ToolyardError } from "@toolyard/service-kit";

/** For what the graph already names and a later version brings. `what` is plural, as in "Releases". */
export function notInThisVersion(what: string): ToolyardError {
  return new ToolyardError("PRECONDITION_FAILED", `${what} are not part of this version of Toolyard.`);
}
