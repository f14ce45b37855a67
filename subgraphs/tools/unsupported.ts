import { preconditionFailed } from "@toolyard/service-kit";

/** For mutations that the contract has and this version does not: `what` is a plural, as in "Templates". */
export function notPartOfThisVersion(what: string): never {
  const reason = `${what} are not part of this version of Toolyard.`;
  throw preconditionFailed("feature", reason);
}
