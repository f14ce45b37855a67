import { readFileSync } from "node:fs";
import { join } from "node:path";
import { buildASTSchema, coerceInputValue, parse, type GraphQLInputType } from "graphql";
import { z } from "zod";
import { launchInput } from "./launch-input.ts";

/** A launch as a file has it: LaunchInput of the graph, with nothing in it that the graph would refuse, such as a misspelt name. */
export const launchFile = z
  .unknown()
  .check((context) => {
    coerceInputValue(context.value, launchInputType(), (path, _value, { message }) => {
      context.issues.push({ code: "custom", input: context.value, path: [...path], message });
    });
  })
  .pipe(launchInput);

let type: GraphQLInputType | null = null;

function launchInputType(): GraphQLInputType {
  const read = (name: string): string => readFileSync(join(import.meta.dirname, name), "utf8");
  type ??= buildASTSchema(parse(read("launch.graphql") + read("launch-input.graphql")), {
    assumeValidSDL: true,
  }).getType("LaunchInput") as GraphQLInputType; // an input of that name, by launch-input.graphql
  return type;
}
