import type { JsonSchema } from "../rest/json-schema.ts";
import { EVERYWHERE, headerParameter, refusalsOf, type PathDescriber } from "../rest/openapi.ts";
import { createEventLogs } from "./event-logs.ts";
import { TOPICS } from "./event-position.ts";

const id: JsonSchema = {
  type: "string",
  description: "The position after this, to go on from: `after` or `Last-Event-ID`.",
};
const time: JsonSchema = { type: "string", format: "date-time" };

/** `GET /events`, with the schemas of what is sent. */
export const describeEvents: PathDescriber = (schema, components) => {
  const logs = createEventLogs(schema, components);
  const envelope = (type: string, data: JsonSchema): JsonSchema => ({
    type: "object",
    properties: { id, type: { const: type }, at: time, data },
    required: ["id", "type", "at", "data"],
  });
  components.set("Event", {
    description: "What the `data` of each server-sent event, and each message of `/ws`, holds in JSON.",
    oneOf: [
      ...TOPICS.map((topic) => envelope(topic, logs[topic].data.schema)),
      envelope("subscribed", {
        type: "object",
        properties: { topics: { type: "array", items: { enum: TOPICS } } },
        required: ["topics"],
      }),
      envelope("error", { $ref: "#/components/schemas/Problem" }),
    ],
  });
  const text = (name: string, description: string): JsonSchema => ({
    name,
    in: "query",
    description,
    schema: { type: "string" },
  });
  return {
    "/events": {
      get: {
        tags: ["Events"],
        summary: "Follow what happens to deployments, tasks and tools, as server-sent events",
        operationId: "FollowEvents",
        security: [{ bearer: [] }, { ticket: [] }],
        parameters: [
          {
            name: "topics",
            in: "query",
            description: "Which events, with commas between them; all unless given.",
            style: "form",
            explode: false,
            schema: { type: "array", items: { type: "string", enum: TOPICS }, minItems: 1 },
          },
          text("after", 'The `id` after which to begin, or "0" for all there is. From now unless given.'),
          text("tool_id", "Only events of this tool, by id or slug."),
          text("deployment_id", "Only events of this deployment, by id, name or its tool's slug."),
          headerParameter("Last-Event-ID", "The same as `after`, which EventSource sends when it connects again."),
        ],
        responses: {
          200: {
            description: "Events until either side ends the connection.",
            content: {
              "text/event-stream": {
                schema: {
                  type: "string",
                  description: "Server-sent events; the `data` of each is an `Event` in JSON.",
                },
              },
            },
          },
          ...refusalsOf(EVERYWHERE),
        },
      },
    },
  };
};
