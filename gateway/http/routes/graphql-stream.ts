import { nextTimeSlice } from "@toolyard/service-kit";
import { STREAM_PATH } from "../paths.ts";
import { createGraphqlAnswers } from "../graphql/answers.ts";
import type { RouteModule } from "../route.ts";

/** Where clients of graphql-sse reserve streams and run operations on them. */
const graphqlStream: RouteModule = (app, context) => {
  const { protocols, identify, bodies } = context;
  app.direct({
    url: STREAM_PATH,
    methods: ["GET", "POST", "PUT", "DELETE"],
    async handle(exchange) {
      const { request, response, requestId, headers } = exchange;
      let body: unknown;
      if (request.method === "POST") {
        bodies.requireJson(exchange);
        exchange.caller = await identify(request);
        await nextTimeSlice();
        body = await bodies.readJson(exchange);
      }
      await protocols.handleStream({ request, response, body, requestId, headers });
    },
    fail: createGraphqlAnswers(context).fail,
  });
};
export default graphqlStream;
