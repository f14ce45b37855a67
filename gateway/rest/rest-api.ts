import { createHash } from "node:crypto";
import type { GraphQLSchema } from "graphql";
import { z } from "zod";
import type { Components } from "./answers.ts";
import { createRouteCompiler, type CompiledRoute } from "./compiled-route.ts";
import { withFragments } from "./fragments.ts";
import type { InputNotes } from "./inputs.ts";
import { openApiOf, type PathDescriber } from "./openapi.ts";
import type { RestRoute } from "./rest-route.ts";

/** The routes as one schema has them. */
export interface RestApi {
  /** @throws GraphQLError where the schema, another graph's, lacks what the route needs */
  compiled(route: RestRoute): CompiledRoute;
  /** The document that describes all routes which the schema has. @param prefix The path below which they are */
  openApi(prefix: string): { text: string; etag: string };
}

/** @param describers Of what else is in the document */
export function createRestApi(
  schema: GraphQLSchema,
  routes: readonly RestRoute[],
  describers: readonly PathDescriber[] = [],
): RestApi {
  const components: Components = new Map();
  const notes: InputNotes = z.registry();
  const compile = createRouteCompiler(schema, components, notes);
  const known = new Map<RestRoute, CompiledRoute>();
  let document: ReturnType<RestApi["openApi"]> | null = null;

  function compiled(route: RestRoute): CompiledRoute {
    const found = known.get(route) ?? compile(route);
    known.set(route, found);
    return found;
  }

  return {
    compiled,
    openApi(prefix) {
      if (document) return document;
      const compiledRoutes = routes.map(compiled);
      const others = describers.map((describe) => describe(schema, components));
      const text = JSON.stringify(openApiOf(compiledRoutes, { components, notes, prefix, others }), null, 2);
      document = { text, etag: `"${createHash("sha256").update(text).digest("base64url")}"` };
      return document;
    },
  };
}

/** The texts of all routes' operations: Toolyard's own, which a safelist need not have. */
export function operationsOf(routes: readonly RestRoute[]): ReadonlySet<string> {
  return new Set(routes.map(({ operation }) => withFragments(operation)));
}
