import { sliceAfter } from "@toolyard/service-kit";
import { parseClientJson, discardBody, isEncoded, isJson } from "@toolyard/service-kit/http/request-body.ts";
import { readBody } from "@toolyard/service-kit/http/read-body.ts";
import { parseClientExactly } from "../formats/exact-json.ts";
import { createBodyBudget, isAnonymous } from "./body-budget.ts";
import type { RouteExchange } from "./direct-routes.ts";
import type { Form } from "../rest/form.ts";
import { readForm } from "./multipart-form.ts";
import { HttpRefusal } from "./problem.ts";

/** The part of a request that reading its body takes. */
export type BodyExchange = Pick<RouteExchange, "request" | "response" | "caller" | "headers">;

/** Reads bodies for routes: whole, as JSON, and no more of them than there is memory for. */
export interface BodyReader {
  /** @param other What the route takes besides, and this body is not @throws HttpRefusal 415 unless the body is plain JSON */
  requireJson(exchange: BodyExchange, other?: string): void;
  /** The body's value. Once the caller is known: anonymous ones may send less. @throws ToolyardError */
  readJson(exchange: BodyExchange): Promise<unknown>;
  /** A body that is a form with a file, under the same limits. @throws ToolyardError */
  readForm(exchange: BodyExchange): Promise<Form>;
  /** Reads on, for a bounded time, so that the client sees the answer to a body that was refused. */
  discard(exchange: BodyExchange): Promise<void>;
}

export function createBodyReader(limits: { maxBodyBytes: number; maxAnonymousBodyBytes: number }): BodyReader {
  const { maxBodyBytes, maxAnonymousBodyBytes } = limits;
  const budget = createBodyBudget(maxBodyBytes);
  const maxBytesOf = ({ caller }: BodyExchange) =>
    isAnonymous(caller) ? Math.min(maxAnonymousBodyBytes, maxBodyBytes) : maxBodyBytes;

  return {
    requireJson({ request, headers }, other) {
      if (!isJson(request.headers["content-type"]))
        throw new HttpRefusal(415, `Send the body as application/json${other === undefined ? "" : `, or ${other}`}.`);
      if (!isEncoded(request)) return;
      headers["accept-encoding"] = "identity";
      throw new HttpRefusal(415, "Send the body as it is, without Content-Encoding.");
    },
    async readJson(exchange) {
      const { request, response, caller } = exchange;
      const maxBytes = maxBytesOf(exchange);
      const text = await readBody(request, maxBytes, budget.take(request, response, caller, maxBytes));
      const from = performance.now();
      const body = parseClientJson(text, "The body", parseClientExactly);
      await sliceAfter(from);
      return body;
    },
    async readForm(exchange) {
      const { request, response, caller } = exchange;
      const maxBytes = maxBytesOf(exchange);
      return readForm(request, maxBytes, budget.take(request, response, caller, maxBytes));
    },
    discard: (exchange) => discardBody(exchange.request, maxBytesOf(exchange)),
  };
}
