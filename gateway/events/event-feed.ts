import { ToolyardError, notFound, withoutStop } from "@toolyard/service-kit";
import type { AbortSignalLike } from "@toolyard/service-kit/process/light-abort.ts";
import type { ExecutionResult, GraphQLSchema } from "graphql";
import type { GatewayContext, OperationGate } from "../admission/operation-gate.ts";
import { errorOf } from "../rest/run-route.ts";
import { createEventLogs, RANGES_QUERY, type EventLog, type GraphEvent } from "./event-logs.ts";
import { TOPICS, encodePosition, type EventPosition, type Topic } from "./event-position.ts";
import type { EventRequest } from "./event-request.ts";

/** The one form of all that is sent. `id` is the position after it; `type` is a topic, or says what happened to the stream. */
export interface EventEnvelope {
  id: string | null;
  type: Topic | "subscribed" | "unsubscribed" | "pong" | "error";
  at: string;
  data: unknown;
}

/** The events of several logs as one stream: `run` it, or stop it. */
export interface EventFeed {
  readonly topics: readonly Topic[];
  /** The position after all that was sent. */
  readonly id: string;
  /**
   * Sends events until the feed is stopped. What comes after the position of each log comes once and in the log's order.
   * @param send Resolves when there is room for the next one
   * @throws ToolyardError when it breaks: what was not sent comes after `id`
   */
  run(send: (event: EventEnvelope) => Promise<void> | null): Promise<void>;
  stop(): void;
}

type Ranges = Partial<Record<Topic, { oldestSequence: string; latestSequence: string } | null>> & {
  theTool?: { id: string } | null;
  theDeployment?: { id: string } | null;
};

/** Opens streams of events on the gateway's own subscriptions, with their rights, limits and bounds. */
export interface EventFeeds {
  /**
   * @param signal Ends the wait for the logs' ranges
   * @throws ToolyardError BAD_USER_INPUT with `oldest` or `latest`, a position, where a log does not hold the one asked for; FORBIDDEN;
   *   NOT_FOUND of what the filters name
   */
  open(asked: EventRequest, context: GatewayContext, signal: AbortSignalLike): Promise<EventFeed>;
}

export function createEventFeeds(options: {
  gate: Pick<OperationGate, "inspect" | "execute" | "subscribe">;
  apiSchema: () => GraphQLSchema;
}): EventFeeds {
  const { gate, apiSchema } = options;
  const known = new WeakMap<GraphQLSchema, Record<Topic, EventLog>>();

  function logs(): Record<Topic, EventLog> {
    const schema = apiSchema();
    const found = known.get(schema) ?? createEventLogs(schema, new Map());
    known.set(schema, found);
    return found;
  }

  /** @throws ToolyardError where the gate refuses the operation */
  function inspect(query: string, context: GatewayContext): void {
    const inspected = gate.inspect({ query, operationName: null, context });
    if ("errors" in inspected) throw errorOf(inspected.errors);
  }

  async function readRanges(asked: EventRequest, context: GatewayContext, signal: AbortSignalLike): Promise<Ranges> {
    const { topics, toolId, deploymentId } = asked;
    const variables = {
      ...Object.fromEntries(TOPICS.map((topic) => [topic, topics.includes(topic)])),
      toolId,
      ofTool: toolId !== null,
      deploymentId,
      ofDeployment: deploymentId !== null,
    };
    inspect(RANGES_QUERY, context);
    const { data, errors } = await gate.execute({
      query: RANGES_QUERY,
      operationName: null,
      variables,
      context,
      signal,
    });
    if (!data || errors) throw errorOf(errors ?? []);
    if (data["theTool"] === null) throw notFound("tool", toolId ?? "");
    if (data["theDeployment"] === null) throw notFound("deployment", deploymentId ?? "");
    return data;
  }

  async function open(asked: EventRequest, context: GatewayContext, signal: AbortSignalLike): Promise<EventFeed> {
    const { topics } = asked;
    const all = logs();
    const ranges = await readRanges(asked, context, signal);
    let position = startOf(asked, ranges);
    const runs: { topic: Topic; results: AsyncGenerator<ExecutionResult, void, void> }[] = [];
    let isStopped = false;

    function stop(): void {
      isStopped = true;
      for (const { results } of runs) void results.return().catch(() => undefined); // nobody waits for how it ended
    }

    function begin(topic: Topic) {
      const { query, isOfDeployments } = all[topic];
      inspect(query, context);
      const variables = {
        after: String(position[topic]),
        toolId: ranges.theTool?.id ?? null,
        ...(isOfDeployments && { deploymentId: ranges.theDeployment?.id ?? null }),
      };
      runs.push({ topic, results: gate.subscribe({ query, operationName: null, variables, context }) });
    }

    async function deliver(
      { topic, results }: (typeof runs)[number],
      send: Parameters<EventFeed["run"]>[0],
    ): Promise<void> {
      for await (const { data, errors } of results) {
        if (isStopped) return;
        const event = data?.["event"] as GraphEvent | null | undefined;
        if (!event) throw brokenBy(errorOf(errors ?? []));
        position = { ...position, [topic]: Number(event.sequence) };
        const at = event.at ?? event.check?.at ?? "";
        const room = send({ id: encodePosition(position), type: topic, at, data: all[topic].data.convert(event) });
        if (room) await room;
      }
      if (!isStopped) throw new ToolyardError("UPSTREAM_UNAVAILABLE", `The log of ${topic} events ended. ${GO_ON}`);
    }

    try {
      for (const topic of topics) begin(topic);
    } catch (error) {
      stop();
      throw error;
    }
    return {
      topics,
      get id() {
        return encodePosition(position);
      },
      async run(send) {
        try {
          await Promise.all(runs.map((run) => deliver(run, send)));
        } finally {
          stop();
        }
      },
      stop,
    };
  }

  return { open };
}

const GO_ON = "Connect again: what was not sent comes after the last id.";

/** Errors of subscriptions name a position in one log, which is not what clients here go on from. */
function brokenBy(error: ToolyardError): ToolyardError {
  const { last_sequence: sequence, ...extensions } = error.extensions;
  if (sequence === undefined) return error;
  const why = error.code === "SLOW_CONSUMER" ? "This stream was read too slowly and ends" : "The stream broke";
  return new ToolyardError(error.code, `${why}. ${GO_ON}`, { cause: error, extensions });
}

/** @throws ToolyardError BAD_USER_INPUT where a log does not hold the position */
function startOf({ after, topics }: EventRequest, ranges: Ranges): EventPosition {
  const oldest: Partial<Record<Topic, number>> = {};
  const latest: Partial<Record<Topic, number>> = {};
  for (const topic of topics) {
    oldest[topic] = Number(ranges[topic]?.oldestSequence);
    latest[topic] = Number(ranges[topic]?.latestSequence);
  }
  if (after === null) return latest;
  if (after === "start") return oldest;
  // A log that was not followed before begins now.
  const position = { ...after, ...latest, ...after };
  const isOutside = (topic: Topic, bounds: EventPosition, sign: 1 | -1) =>
    sign * ((bounds[topic] ?? 0) - (position[topic] ?? 0)) > 0;
  const trimmed = topics.filter((topic) => isOutside(topic, oldest, 1));
  if (trimmed.length > 0) {
    const kept = { ...position };
    for (const topic of trimmed) kept[topic] = oldest[topic] ?? 0;
    throw outOfLog(
      `lies before the oldest ${trimmed.join(" and ")} events that are kept: what is missing was removed by age. Go on from \`oldest\``,
      { oldest: encodePosition(kept) },
    );
  }
  const beyond = topics.find((topic) => isOutside(topic, latest, -1));
  if (beyond !== undefined)
    throw outOfLog(
      `lies beyond the end of the log of ${beyond} events, as after a restored backup. Go on from \`latest\``,
      {
        latest: encodePosition({ ...position, ...latest }),
      },
    );
  return position;
}

function outOfLog(problem: string, extensions: Record<string, string>): ToolyardError {
  return new ToolyardError("BAD_USER_INPUT", `after: ${withoutStop(problem)}.`, {
    problems: [{ path: "after", message: problem }],
    extensions,
  });
}
