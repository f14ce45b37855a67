import { setTimeout as delay } from "node:timers/promises";
import type { ExecutionResult, GraphQLError, GraphQLFormattedError } from "graphql";
import { messageOf, ToolyardError, type Caller } from "@toolyard/service-kit";
import { Agent, request as call } from "undici";
import { z } from "zod";
import {
  graphqlParamsOf,
  refuse,
  send,
  sendErrors,
  sendFailure,
  type HttpExchange,
  type HttpProtocolPorts,
  type OpenProtocol,
} from "./http-exchange.ts";
import { createOpenStreams, errorOfEnd, type StreamEnd } from "./open-streams.ts";
import { runOperation, type OperationPorts, type OperationRun } from "./operation-run.ts";

export interface HttpCallbackOptions extends OperationPorts, HttpProtocolPorts {
  /**
   * Hosts that may be called back, each `name` (any port) or `name:port`, as written in the URL. None: the protocol is off. The
   * gateway sends requests there with bodies that callers choose, so list only hosts that expect it.
   */
  allowedHosts: readonly string[];
  /** The shortest time between heartbeats that a client may ask for. */
  minHeartbeatMs?: number;
  now?: () => number;
}

export interface HttpCallback extends OpenProtocol {
  /** Whether the client asks for this protocol, whether or not it gets it. */
  accepts(exchange: HttpExchange): boolean;
  handle(exchange: HttpExchange): Promise<void>;
}

/** Of one callback. */
const TIMEOUT_MS = 10_000;
/** How often a callback is tried when it fails for another reason than a refusal. */
const ATTEMPTS = 5;
const MAX_SUBSCRIPTIONS = 1_000;

const milliseconds = z.number().int().min(0).max(3_600_000);
/** With the names of the protocol's preview, which some clients still send. */
const subscriptionExtension = z
  .object({
    callbackUrl: z.string().max(2_048).optional(),
    callback_url: z.string().max(2_048).optional(),
    subscriptionId: z.string().max(256).optional(),
    subscription_id: z.string().max(256).optional(),
    verifier: z.string().max(1_024),
    heartbeatIntervalMs: milliseconds.optional(),
    heartbeat_interval_ms: milliseconds.optional(),
  })
  .transform((given) => ({
    callbackUrl: given.callbackUrl ?? given.callback_url ?? "",
    id: given.subscriptionId ?? given.subscription_id ?? "",
    verifier: given.verifier,
    heartbeatMs: given.heartbeatIntervalMs ?? given.heartbeat_interval_ms ?? 5_000,
  }));
type Subscriber = z.infer<typeof subscriptionExtension>;

type Errors = readonly (GraphQLError | GraphQLFormattedError)[];

interface Message {
  action: "check" | "next" | "complete";
  payload?: ExecutionResult;
  errors?: Errors;
}

/** The subscriber no longer exists. */
const gone = Symbol("gone");

/**
 * Apollo's HTTP callback protocol (https://www.apollographql.com/docs/graphos/routing/operations/subscriptions/callback-protocol), by
 * which a router or a server subscribes without holding a connection: a POST with `extensions.subscription`, then a request to its
 * `callbackUrl` for each result. The reason for an early end is in the `errors` of `complete`.
 */
export function createHttpCallback(options: HttpCallbackOptions): HttpCallback {
  const { allowedHosts, authenticate, contextOf, log, now, minHeartbeatMs = 1_000 } = options;
  // Each subscriber has its own heartbeat interval.
  const streams = createOpenStreams({ heartbeatMs: 2 ** 31 - 1, ...(now && { now }) });
  const subscribed = new Set<string>();
  const agent = new Agent({ connections: 32, keepAliveTimeout: 30_000, connect: { timeout: 5_000 } });

  /** @throws ToolyardError FORBIDDEN, BAD_USER_INPUT */
  function checkUrl(text: string): void {
    if (!URL.canParse(text)) throw new ToolyardError("BAD_USER_INPUT", "callbackUrl must be a URL.");
    const { protocol, hostname, host, port, username, password } = new URL(text);
    if (protocol !== "http:" && protocol !== "https:") {
      throw new ToolyardError("BAD_USER_INPUT", "callbackUrl must be an http or https URL.");
    }
    if (username !== "" || password !== "") {
      throw new ToolyardError("BAD_USER_INPUT", "callbackUrl must not hold a user or a password.");
    }
    const withPort = port === "" ? `${hostname}:${protocol === "https:" ? 443 : 80}` : host;
    if (allowedHosts.includes(hostname) || allowedHosts.includes(withPort)) return;
    throw new ToolyardError("FORBIDDEN", "This host may not be called back. The operator names those that may.");
  }

  /** @returns the status. @throws when there is no answer */
  async function post(
    { callbackUrl, id, verifier }: Subscriber,
    message: Message,
    signal: AbortSignal,
  ): Promise<number> {
    // Redirects are not followed: they would lead past the list of hosts.
    const { statusCode, body } = await call(callbackUrl, {
      method: "POST",
      dispatcher: agent,
      headers: { "content-type": "application/json", "subscription-protocol": "callback/1.0" },
      body: JSON.stringify({ kind: "subscription", id, verifier, ...message }),
      headersTimeout: TIMEOUT_MS,
      bodyTimeout: TIMEOUT_MS,
      signal,
    });
    await body.dump({ limit: 65_536 });
    return statusCode;
  }

  /** @returns `gone` when the subscriber no longer exists: it said so, or does not answer. */
  async function deliver(subscriber: Subscriber, message: Message, signal: AbortSignal): Promise<typeof gone | null> {
    for (let attempt = 1; ; attempt++) {
      try {
        const status = await post(subscriber, message, signal);
        if (status >= 200 && status < 300) return null;
        if (status < 500) return gone;
      } catch (error) {
        if (signal.aborted) return gone;
        log.debug({ err: error, attempt }, "a callback failed");
      }
      if (attempt >= ATTEMPTS) return gone;
      // 100 ms, 200, 400, … 1 s
      await delay(Math.min(100 * 2 ** (attempt - 1), 1_000), undefined, { signal }).catch(() => undefined); // aborted: the next try says so
    }
  }

  async function subscribe(exchange: HttpExchange, caller: Caller): Promise<void> {
    const params = graphqlParamsOf(exchange);
    const parsed = subscriptionExtension.safeParse(params?.extensions["subscription"]);
    if (!params || !parsed.success || parsed.data.id === "") {
      return refuse(
        exchange,
        "BAD_USER_INPUT",
        "Send a `query` and in `extensions.subscription` a callbackUrl, a subscriptionId and a verifier.",
      );
    }
    const subscriber = parsed.data;
    checkUrl(subscriber.callbackUrl);
    const key = JSON.stringify([subscriber.callbackUrl, subscriber.id]);
    if (subscribed.has(key)) return refuse(exchange, "CONFLICT", "A subscription with this id is open already.");
    if (subscribed.size >= MAX_SUBSCRIPTIONS)
      return refuse(exchange, "CAPACITY_EXHAUSTED", "Too many subscriptions are open. Try again later.");
    const { query, operationName, variables } = params;
    const run = runOperation(options, { query, operationName, variables, context: contextOf(caller, exchange) });
    if ("errors" in run) return sendErrors(exchange, 400, run.errors);
    if (run.kind !== "subscription") {
      run.stop();
      return refuse(exchange, "BAD_USER_INPUT", "Only subscriptions are called back.");
    }
    subscribed.add(key);
    const isReady = await post(subscriber, { action: "check" }, AbortSignal.timeout(TIMEOUT_MS)).catch(
      (error: unknown) => {
        log.debug({ err: error }, "a callback failed");
        return null;
      },
    );
    if (isReady !== 204 && isReady !== 200) {
      run.stop();
      subscribed.delete(key);
      return refuse(
        exchange,
        "BAD_USER_INPUT",
        `The callbackUrl did not confirm the subscription: ${isReady === null ? "no answer" : `HTTP ${isReady}`}.`,
      );
    }
    send(exchange, 200, { type: "application/json", text: '{"data":null}' });
    void follow(subscriber, caller, run, key);
  }

  async function follow(subscriber: Subscriber, caller: Caller, run: OperationRun, key: string): Promise<void> {
    const broken = new AbortController();
    const { signal } = broken;
    let why = null as StreamEnd | null; // set by a callback, of which narrowing would know nothing
    let isGone = false;
    const leave = () => {
      isGone = true;
      run.stop();
    };
    const release = streams.open(caller, {
      end(reason) {
        why = reason;
        run.stop();
      },
      beat: () => undefined,
      breakOff: () => broken.abort(),
    });
    const heartbeatMs = subscriber.heartbeatMs === 0 ? 0 : Math.max(subscriber.heartbeatMs, minHeartbeatMs);
    let failures = 0;
    const beat = async () => {
      const status = await post(subscriber, { action: "check" }, signal).catch(() => null); // no answer counts as a failure
      if (status !== null && status < 300) failures = 0;
      else if ((status !== null && status < 500) || ++failures >= ATTEMPTS) leave();
    };
    const heartbeat = heartbeatMs === 0 ? undefined : setInterval(() => void beat(), heartbeatMs).unref();
    let errors: Errors | undefined;
    try {
      for await (const result of run.results) {
        if (why || isGone) break;
        if (result.data === undefined) errors = result.errors;
        else if ((await deliver(subscriber, { action: "next", payload: result }, signal)) === gone) leave();
      }
    } catch (error) {
      log.error({ err: error }, `a subscription failed: ${messageOf(error)}`);
      errors = [
        { message: "Something went wrong here: subscribe again.", extensions: { code: "INTERNAL_SERVER_ERROR" } },
      ];
    } finally {
      clearInterval(heartbeat);
      run.stop();
      if (why) errors = [errorOfEnd(why)];
      if (!isGone) await deliver(subscriber, { action: "complete", ...(errors && { errors }) }, signal);
      subscribed.delete(key);
      release();
    }
  }

  return {
    get openStreams() {
      return streams.size;
    },
    accepts: ({ request, body }) =>
      request.method === "POST" && graphqlParamsOf({ request, body })?.extensions["subscription"] !== undefined,
    async handle(exchange) {
      try {
        if (allowedHosts.length === 0) {
          return refuse(
            exchange,
            "FORBIDDEN",
            "Subscriptions by HTTP callback are off. The operator turns them on for named hosts.",
          );
        }
        await subscribe(exchange, await authenticate(exchange.request));
      } catch (error) {
        sendFailure(exchange, error, log);
      }
    },
    endWhere: (isConcerned, message) => streams.endWhere(isConcerned, message),
    async close(timeoutMs = 2_000) {
      await streams.close(timeoutMs);
      await agent.destroy();
    },
  };
}
