import type { ToolyardError } from "@toolyard/service-kit";
import type { AdmittedOperation } from "./admission.ts";
import { rootFieldsOf } from "./root-fields.ts";

/**
 * Whether an operation needs no credential, and is answered even with a bad one: only introspection, and the
 * mutations by which users log in, at its root.
 */
export function hasOnlyOpenFields(
  operation: Pick<AdmittedOperation, "kind" | "document">,
  openMutations: ReadonlySet<string>,
): boolean {
  const { kind } = operation;
  if (kind === "subscription") return false;
  return rootFieldsOf(operation)
    .values()
    .every((name) => name.startsWith("__") || (kind === "mutation" && openMutations.has(name)));
}

/** The credential's error, where a better credential would have changed this outcome; undefined elsewhere. */
export function badCredentialOf({ refusal }: { refusal?: ToolyardError }, outcome: object): ToolyardError | undefined {
  if (!refusal || !("errors" in outcome) || !Array.isArray(outcome.errors)) return undefined;
  // Other errors of an operation, such as a rate limit, do not depend on the credential.
  const [first] = outcome.errors as { extensions?: { code?: unknown } }[];
  return first?.extensions?.code === refusal.code ? refusal : undefined;
}
