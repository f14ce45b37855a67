import { ToolyardError, createServiceCaller } from "@toolyard/service-kit";
import { readBody } from "@toolyard/service-kit/http/read-body.ts";
import { errorOf } from "../../rest/run-route.ts";
import { createBodyBudget } from "../body-budget.ts";
import type { RouteModule } from "../route.ts";

/** GitHub sends no larger ones. https://docs.github.com/webhooks/webhook-events-and-payloads#payload-cap */
const MAX_DELIVERY_BYTES = 25 * 1_048_576;
/** Of which the memory for large deliveries that are under way is a multiple: room for one of the largest at a time. */
const BUDGET_BYTES = MAX_DELIVERY_BYTES / 6;

const RECEIVE = "mutation ReceiveGitHubEvent($input: GitHubEventInput!) { receiveGitHubEvent(input: $input) }";
const self = createServiceCaller("gateway", ["internal:github-event"]);

/** Where GitHub sends its webhooks: passed on as they came to the tools subgraph, which alone can tell whether GitHub sent them. */
const githubWebhook: RouteModule = (app, { gate, contextOf, jwks }) => {
  // A graph of others, without Toolyard's subgraphs.
  if (jwks === null) return;
  const budget = createBodyBudget(BUDGET_BYTES);

  app.direct({
    url: "/api/v1/github/webhook",
    methods: ["POST"],
    async handle({ request, response, requestId, headers, gone }) {
      const given = (name: string) => {
        const value = request.headers[name];
        return typeof value === "string" ? value : "";
      };
      const signature = given("x-hub-signature-256");
      if (!/^sha256=[0-9a-f]{64}$/.test(signature))
        throw new ToolyardError(
          "UNAUTHENTICATED",
          "Send GitHub's signature of the body as X-Hub-Signature-256: the webhook on GitHub must have a secret.",
        );
      const event = given("x-github-event");
      const deliveryId = given("x-github-delivery");
      if (!/^\w{1,64}$/.test(event) || !/^[\w-]{1,64}$/.test(deliveryId))
        throw new ToolyardError("BAD_USER_INPUT", "Send X-GitHub-Event and X-GitHub-Delivery as GitHub does.");
      budget.take(request, response, null, MAX_DELIVERY_BYTES);
      const body = await readBody(request, MAX_DELIVERY_BYTES);
      const bodyBase64 = Buffer.from(body, "utf8").toString("base64");
      const operation = { query: RECEIVE, operationName: null, context: contextOf(self, request, requestId) };
      const inspected = gate.inspect(operation);
      if ("errors" in inspected) throw errorOf(inspected.errors);
      const variables = { input: { event, deliveryId, signature, bodyBase64 } };
      const { data, errors } = await gate.execute({ ...operation, variables, signal: gone.signal });
      if (errors?.length) throw errorOf(errors);
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
