import { Kind, type DocumentNode, type SelectionSetNode } from "graphql";
import type { AdmittedOperation } from "./admission.ts";

const known = new WeakMap<DocumentNode, ReadonlyMap<string, string>>();

/** The fields at an operation's root by the keys of their results: fields with one key are resolved once. */
export function rootFieldsOf({ document }: Pick<AdmittedOperation, "document">): ReadonlyMap<string, string> {
  const before = known.get(document);
  if (before) return before;
  const fields = new Map<string, string>();
  const seen = new Set<string>();
  const collect = ({ selections }: SelectionSetNode): void => {
    for (const selection of selections) {
      if (selection.kind === Kind.FIELD) fields.set((selection.alias ?? selection.name).value, selection.name.value);
      else if (selection.kind === Kind.INLINE_FRAGMENT) collect(selection.selectionSet);
      else if (!seen.has(selection.name.value)) {
        seen.add(selection.name.value);
        for (const node of document.definitions)
          if (node.kind === Kind.FRAGMENT_DEFINITION && node.name.value === selection.name.value)
            collect(node.selectionSet);
      }
    }
  };
  for (const node of document.definitions) if (node.kind === Kind.OPERATION_DEFINITION) collect(node.selectionSet);
  known.set(document, fields);
  return fields;
}
