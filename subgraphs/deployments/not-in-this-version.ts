import { preconditionFailed, type ToolyardError } from "@toolyard/service-kit";

/** For what the graph already names and a later version brings. `what` is plural, as in "Releases". */
export function notInThisVersion(what: string): ToolyardError {
  return preconditionFailed("feature", `${what} are not part of this version of Toolyard.`);
}
