import { Kind, type SelectionSetNode } from "graphql";
import type { ToolyardError } from "@toolyard/service-kit";
import type { AdmittedOperation } from "./admission.ts";

/**
 * Whether an operation needs no credential, and is answered even with a bad one: only introspection, and the
 * mutations by which users log in, at its root.
 */
export function hasOnlyOpenFields(
  { kind, document }: Pick<AdmittedOperation, "kind" | "document">,
  openMutations: ReadonlySet<string>,
): boolean {
  if (kind === "subscription") return false;
  const seen = new Set<string>();
  const isOpen = ({ selections }: SelectionSetNode): boolean =>
    selections.every((selection) => {
      switch (selection.kind) {
        case Kind.FIELD: {
          const name = selection.name.value;
          return name.startsWith("__") || (kind === "mutation" && openMutations.has(name));
        }
        case Kind.INLINE_FRAGMENT:
          return isOpen(selection.selectionSet);
        case Kind.FRAGMENT_SPREAD: {
          const name = selection.name.value;
          if (seen.has(name)) return true; // judged where it was met first
          seen.add(name);
          const fragment = document.definitions.find(
            (node) => node.kind === Kind.FRAGMENT_DEFINITION && node.name.value === name,
          );
          return fragment?.kind === Kind.FRAGMENT_DEFINITION && isOpen(fragment.selectionSet);
        }
      }
    });
  const operation = document.definitions.find((node) => node.kind === Kind.OPERATION_DEFINITION);
  return operation?.kind === Kind.OPERATION_DEFINITION && isOpen(operation.selectionSet);
}

/** The credential's error, where a better credential would have changed this outcome; undefined elsewhere. */
export function badCredentialOf({ refusal }: { refusal?: ToolyardError }, outcome: object): ToolyardError | undefined {
  if (!refusal || !("errors" in outcome) || !Array.isArray(outcome.errors)) return undefined;
  // Other errors of an operation, such as a rate limit, do not depend on the credential.
  const [first] = outcome.errors as { extensions?: { code?: unknown } }[];
  return first?.extensions?.code === refusal.code ? refusal : undefined;
}
