import { parseJson } from "@toolyard/service-kit/json.ts";
import { z } from "zod";
import type { Party, ReportedCall } from "./usage-record.ts";

/** Of a client's name and version, which are part of a label of at most 255 characters. */
const MAX_NAME = 96;
const MAX_VERSION = 48;
/** What would take more room in JSON. */
const ESCAPED = /[\p{C}"\\]/gu;

const OTHER_USERS = "u:other";
const OTHER_CLIENTS = "c:other";
/** Of each, the beginning of its labels, the label of all others, and how many a deployment has for itself in a day (UTC). */
export const PARTY_KINDS = [
  { prefix: "u:", other: OTHER_USERS, most: 1_000 },
  { prefix: "c:", other: OTHER_CLIENTS, most: 200 },
] as const;

const identity = z.union([
  z.object({ user: z.string().nullable() }),
  z.object({ name: z.string(), version: z.string() }),
  z.object({ key: z.string().nullable() }),
]);

/** The labels that a call counts under: its user's and its client's. */
export function partiesOf({ userId, client, apiKeyId }: ReportedCall): [user: string, client: string] {
  const user = `u:${JSON.stringify({ user: userId })}`;
  if (client === null) return [user, `c:${JSON.stringify({ key: apiKeyId })}`];
  const { name, version } = client;
  return [user, `c:${JSON.stringify({ name: label(name, MAX_NAME), version: label(version, MAX_VERSION) })}`];
}

/** What a label stands for. */
export function partyOf(text: string): Party {
  const isUser = text.startsWith("u:");
  const said = identity.safeParse(parseJson(text.slice(2))).data;
  if (said === undefined) return { kind: isUser ? "OTHER_USERS" : "OTHER_CLIENTS" };
  if ("user" in said) return { kind: "USER", userId: said.user };
  if ("key" in said) return { kind: "CLIENT", client: null, apiKeyId: said.key };
  return { kind: "CLIENT", client: said, apiKeyId: null };
}

/** Who may see whom. */
export interface PartyViewer {
  userId: string | null;
  /** Whether they may inspect what was called. */
  mayInspect: boolean;
}

/** The label under which a viewer sees calls; null: not at all. Of other users nothing is seen, and of clients only what they call themselves. */
export function labelSeenBy({ userId, mayInspect }: PartyViewer, text: string): string | null {
  if (mayInspect) return text;
  const party = partyOf(text);
  if (party.kind === "USER") return party.userId !== null && party.userId === userId ? text : null;
  if (party.kind === "CLIENT") return party.client === null ? `c:${JSON.stringify({ key: null })}` : text;
  return party.kind === "OTHER_USERS" ? null : text;
}

function label(text: string, most: number): string {
  return text.slice(0, most).toWellFormed().replace(ESCAPED, "\uFFFD");
}
