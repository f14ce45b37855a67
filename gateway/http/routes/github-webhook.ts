import { ToolyardError, createServiceCaller } from "@toolyard/service-kit";
import { readBytes } from "@toolyard/service-kit/http/read-body.ts";
import { EVERYWHERE, headerParameter, inJson, refusalsOf, type PathDescriber } from "../../rest/openapi.ts";
import { errorOf } from "../../rest/run-route.ts";
import { createBodyBudget } from "../body-budget.ts";
import type { RouteModule } from "../route.ts";

/** GitHub sends no larger ones. https://docs.github.com/webhooks/webhook-events-and-payloads#payload-cap */
const MAX_DELIVERY_BYTES = 25 * 1_048_576;
/** Of which the memory for large deliveries that are under way is a multiple: room for one of the largest at a time. */
const BUDGET_BYTES = MAX_DELIVERY_BYTES / 6;

const RECEIVE = "mutation ReceiveGitHubEvent($input: GitHubEventInput!) { receiveGitHubEvent(input: $input) }";
/** Refused where there is no secret: then nothing of the body is read. */
const TAKES = "query TakesGitHubEvents { takesGitHubEvents }";
const self = createServiceCaller("gateway", ["internal:github-event"]);

const URL_PATH = "/api/v1/github/webhook";
const SIGNATURE = /^sha256=[0-9a-f]{64}$/;
const EVENT = /^\w{1,64}$/;
const DELIVERY_ID = /^[\w-]{1,64}$/;

/** Where GitHub sends its webhooks: passed on as they came to the tools subgraph, which alone can tell whether GitHub sent them. */
const githubWebhook: RouteModule = (app, { gate, contextOf, jwks }) => {
  // A graph of others, without Toolyard's subgraphs.
  if (jwks === null) return;
  const budget = createBodyBudget(BUDGET_BYTES);

  app.direct({
    url: URL_PATH,
    methods: ["POST"],
    async handle({ request, response, requestId, headers, gone }) {
      const given = (name: string) => {
        const value = request.headers[name];
        return typeof value === "string" ? value : "";
      };
      const signature = given("x-hub-signature-256");
      if (!SIGNATURE.test(signature))
        throw new ToolyardError(
          "UNAUTHENTICATED",
          "Send GitHub's signature of the body as X-Hub-Signature-256: the webhook on GitHub must have a secret.",
        );
      const event = given("x-github-event");
      const deliveryId = given("x-github-delivery");
      if (!EVENT.test(event) || !DELIVERY_ID.test(deliveryId))
        throw new ToolyardError("BAD_USER_INPUT", "Send X-GitHub-Event and X-GitHub-Delivery as GitHub does.");
      const context = contextOf(self, request, requestId);
      const ask = async (query: string, variables: Record<string, unknown>) => {
        const operation = { query, operationName: null, context };
        const inspected = gate.inspect(operation);
        if ("errors" in inspected) throw errorOf(inspected.errors);
        const { data, errors } = await gate.execute({ ...operation, variables, signal: gone.signal });
        if (errors?.length) throw errorOf(errors);
        return data;
      };
      await ask(TAKES, {});
      const take = budget.take(request, response, null, MAX_DELIVERY_BYTES);
      const body = await readBytes(request, MAX_DELIVERY_BYTES, take);
      const data = await ask(RECEIVE, { input: { event, deliveryId, signature, bodyBase64: body.toString("base64") } });
      const answer = JSON.stringify({
        event,
        delivery_id: deliveryId,
        accepted: data?.["receiveGitHubEvent"] === true,
      });
      response.writeHead(202, {
        ...headers,
        "content-type": "application/json",
        "content-length": Buffer.byteLength(answer),
      });
      response.end(answer);
    },
  });
};
export default githubWebhook;

export const openApi: PathDescriber = () => {
  const header = (name: string, pattern: RegExp, description: string) => ({
    ...headerParameter(name, description, { pattern: pattern.source }),
    required: true,
  });
  return {
    [URL_PATH]: {
      post: {
        tags: ["GitHub"],
        summary:
          "Take a delivery of a webhook, which GitHub sends; a push has the tools that follow its branch read it anew",
        operationId: "ReceiveGitHubEvent",
        security: [{}],
        parameters: [
          header("X-Hub-Signature-256", SIGNATURE, "HMAC-SHA256 of the body as it is sent, by GITHUB_WEBHOOK_SECRET."),
          header("X-GitHub-Event", EVENT, "The kind of event, any that GitHub has."),
          header("X-GitHub-Delivery", DELIVERY_ID, "The delivery's id, which has an effect once."),
        ],
        requestBody: {
          required: true,
          content: inJson({ type: "object", description: "GitHub's payload." }),
        },
        responses: {
          202: {
            description: "It was GitHub that sent it.",
            content: inJson({
              type: "object",
              properties: {
                event: { type: "string" },
                delivery_id: { type: "string" },
                accepted: { type: "boolean", description: "False: it was taken before." },
              },
              required: ["event", "delivery_id", "accepted"],
              additionalProperties: false,
            }),
          },
          ...refusalsOf([...EVERYWHERE, "PRECONDITION_FAILED", "PAYLOAD_TOO_LARGE"]),
        },
      },
    },
  };
};
