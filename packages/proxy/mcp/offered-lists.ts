import type { IncomingHttpHeaders } from "node:http";
import type { InterfaceReading, ListName } from "@toolyard/bridge/interface.ts";
import { checkStateless, classify, metaKey } from "@toolyard/bridge/protocol/era.ts";
import { toStatelessResult } from "@toolyard/bridge/protocol/translation.ts";
import { hasTooManyValues } from "@toolyard/service-kit/http/request-body.ts";
import { isObject, parseJson } from "@toolyard/service-kit/json.ts";
import type { Outcome } from "./answer-outcome.ts";
import { idTextOf } from "./round-trips.ts";

/** A server's last offer, as the control plane tells it. */
export type Offer = Pick<InterfaceReading, ListName> & { discovered: Record<string, unknown> };

/** A request whose answer is known without its server. */
export interface OfferRequest {
  method: string;
  /** As JSON. */
  idText: string;
}

const DISCOVER = "server/discover";
const lists: Readonly<Record<string, { name: ListName; capability: string }>> = {
  "tools/list": { name: "tools", capability: "tools" },
  "prompts/list": { name: "prompts", capability: "prompts" },
  "resources/list": { name: "resources", capability: "resources" },
  "resources/templates/list": { name: "resourceTemplates", capability: "resources" },
};

/**
 * A valid request of revision 2026-07-28 for the server's description, or for the first page of a list. Null for all else: a list in a session
 * takes the session's replica, and a further page the one that gave the cursor.
 */
export function readOfferRequest(body: Buffer, headers: IncomingHttpHeaders): OfferRequest | null {
  const method = oneOf(headers["mcp-method"]);
  const takes = headers.accept ?? "*/*";
  if (method === undefined || !(method === DISCOVER || Object.hasOwn(lists, method))) return null;
  if (!/application\/(json|\*)|\*\/\*/.test(takes)) return null;
  const given = { method, name: oneOf(headers["mcp-name"]), protocolVersion: oneOf(headers["mcp-protocol-version"]) };
  const text = body.toString("utf8");
  // A replica says what is wrong with a request that is not valid, or takes too long to parse here, where everybody's calls pass.
  if (hasTooManyValues(text)) return null;
  const found = classify(parseJson(text), given);
  if (found.era !== "stateless" || checkStateless(found.message, given) !== null) return null;
  const idText = idTextOf(body);
  const { params } = found.message;
  if (found.message.method !== method || idText === "null") return null;
  return params?.cursor === undefined && params?.requestState === undefined ? { method, idText } : null;
}

/** The result as a replica would give it, as JSON, and its outcome; null where the offer does not say it. */
export function resultBy(offer: Offer, method: string): { json: Buffer; outcome: Outcome } | null {
  const result = method === DISCOVER ? offer.discovered : listOf(offer, method);
  if (result === null) return null;
  // For the next moment alone: the server may say something else once it runs.
  const told = { ...result, ttlMs: 0, cacheScope: "private" };
  const tools = method === "tools/list" ? (offer.tools ?? []).map(({ name }) => String(name)) : [];
  return {
    json: Buffer.from(JSON.stringify(told)),
    outcome: { failure: null, errorCode: null, answered: true, tools },
  };
}

function listOf({ discovered, ...offer }: Offer, method: string): Record<string, unknown> | null {
  const { capabilities, _meta: meta } = discovered;
  const list = lists[method];
  // A server refuses to list what it does not offer.
  if (!list || !isObject(capabilities) || !capabilities[list.capability]) return null;
  const items = offer[list.name];
  if (items === null) return null;
  const serverInfo = isObject(meta) ? meta[metaKey.serverInfo] : undefined;
  const result = toStatelessResult(method, { [list.name]: items }, serverInfo);
  return isObject(result) ? result : null;
}

function oneOf(header: string | string[] | undefined): string | undefined {
  return typeof header === "string" ? header : undefined;
}
