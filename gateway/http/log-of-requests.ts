import type { IncomingMessage, ServerResponse } from "node:http";
import type { Caller } from "@toolyard/service-kit";
import { pathToLog, statusToLog, type RequestLog } from "@toolyard/service-kit/http/request-log.ts";

/** A request as it is logged. */
interface LoggedRequest {
  request: IncomingMessage;
  response: ServerResponse;
  requestId: string;
  caller: Caller | null;
  /** Further fields. */
  describe: (() => Parameters<RequestLog["write"]>[0]) | null;
}

/** Writes a request's line, once it has ended. */
export type LogOfRequests = (logged: LoggedRequest, durationMs: number) => void;

export function createLogOfRequests(requestLog: RequestLog): LogOfRequests {
  return ({ request, response, requestId, caller, describe }, durationMs) => {
    if (!requestLog.isOn) return;
    const status = statusToLog(response);
    // The parts of Toolyard send requests all the time.
    if (caller?.kind === "service" && status < 400) return;
    requestLog.write(
      {
        request_id: requestId,
        user_id: caller?.userId,
        method: request.method,
        path: pathToLog(request.url),
        ...describe?.(),
        status,
        duration_ms: Math.round(durationMs * 100) / 100,
      },
      "request",
    );
  };
}
