import { createDocuments } from "../execution/documents.ts";
import { admissionChecks, createAdmission, type Admission, type AdmissionOptions } from "./admission.ts";

/** An admission with documents of its own. */
export function admissionOf(
  options: Omit<AdmissionOptions, "documents"> & { introspection: boolean; maxCachedBytes?: number },
): Admission {
  const { schema, maxCachedBytes = 1_048_576 } = options;
  const documents = createDocuments({ schema, checks: admissionChecks(options), maxCachedBytes });
  return createAdmission({ ...options, documents });
}
