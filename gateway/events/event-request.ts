import { badInput, parseInput } from "@toolyard/service-kit";
import { z } from "zod";
import { POSITION_LENGTH, TOPICS, decodePosition, type EventPosition, type Topic } from "./event-position.ts";

/** The parameters of a client's request for events. */
export interface EventRequest {
  topics: readonly Topic[];
  /** Null: from now. "start": all there is. */
  after: EventPosition | "start" | null;
  /** Only events of this tool, by id or slug. */
  toolId: string | null;
  /** Only events of this deployment, by id, name or its tool's slug. */
  deploymentId: string | null;
}

/** Topics whose events are of one deployment. */
const OF_DEPLOYMENTS: readonly Topic[] = ["deployment", "health"];
const MAX_REFERENCE_LENGTH = 128;

const reference = z.string().min(1).max(MAX_REFERENCE_LENGTH).nullish();
const fields = {
  after: z.string().max(POSITION_LENGTH).nullish(),
  tool_id: reference,
  deployment_id: reference,
};
const message = z.strictObject({
  ...fields,
  type: z.literal("subscribe"),
  topics: z.array(z.enum(TOPICS)).min(1).max(TOPICS.length).nullish(),
});
const search = z.strictObject({
  ...fields,
  topics: z
    .string()
    .transform((text) => text.split(","))
    .pipe(z.array(z.enum(TOPICS)).max(TOPICS.length))
    .nullish(),
  ticket: z.string().optional(),
});

/** A socket's message `subscribe`. @throws ToolyardError BAD_USER_INPUT */
export function readMessage(value: unknown): EventRequest {
  return toRequest(parseInput(message, value, ""));
}

/**
 * The query of `GET /events`.
 * @param lastEventId The header that EventSource sends when it connects again: it is newer than `after`.
 * @throws ToolyardError BAD_USER_INPUT
 */
export function readSearch(given: URLSearchParams, lastEventId: string | undefined): EventRequest {
  // A parameter that is repeated is a list, as with commas.
  const texts = Object.fromEntries([...given.keys()].map((name) => [name, given.getAll(name).join(",")]));
  const asked = parseInput(search, texts, "");
  return toRequest(lastEventId === undefined || lastEventId === "" ? asked : { ...asked, after: lastEventId });
}

function toRequest({
  topics: given,
  after,
  tool_id: toolId = null,
  deployment_id: deploymentId = null,
}: Pick<z.output<typeof message>, "topics" | keyof typeof fields>): EventRequest {
  const topics = given ?? (deploymentId === null ? TOPICS : OF_DEPLOYMENTS);
  const other = deploymentId === null ? undefined : topics.find((topic) => !OF_DEPLOYMENTS.includes(topic));
  if (other !== undefined)
    throw badInput([{ path: "topics", message: `${other} events are of no deployment: leave out deployment_id` }]);
  return {
    topics: [...new Set(topics)],
    after: after == null ? null : after === "0" ? "start" : decodePosition(after),
    toolId,
    deploymentId,
  };
}
