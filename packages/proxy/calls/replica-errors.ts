import { systemCodeOf } from "@toolyard/service-kit";
import { ImpostorError } from "@toolyard/runtimes/endpoint/connector.ts";

/** Caused by the client: tells nothing about the replica. */
export function isOfRequest(error: Error): boolean {
  const code = systemCodeOf(error);
  return code === "UND_ERR_INVALID_ARG" || code === "UND_ERR_REQ_CONTENT_LENGTH_MISMATCH";
}

/** Nothing listens, or something else does. */
export function isGone(error: Error): boolean {
  const code = systemCodeOf(error);
  return code === "ECONNREFUSED" || code === "ENOENT" || error instanceof ImpostorError;
}

export function isTimeout(error: Error): boolean {
  const code = systemCodeOf(error);
  return code === "UND_ERR_HEADERS_TIMEOUT" || code === "UND_ERR_BODY_TIMEOUT";
}
