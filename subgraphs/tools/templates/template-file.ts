import { variablesOf, mapVariables, withEscapes, type StoredLaunch } from "@toolyard/launch";
import { launchFile } from "@toolyard/launch/launch-file.ts";
import { ToolyardError } from "@toolyard/service-kit";
import { line, plainText } from "@toolyard/service-kit/text-input.ts";
import { z } from "zod";
import { parseYaml, type FileProblem } from "../yaml-text.ts";
import { isTemplateId, type Template } from "./template.ts";

export const TEMPLATE_ENDING = ".yaml";

const launch = launchFile
  .check((context) => {
    const given = context.value;
    const report = (path: string[], message: string) =>
      context.issues.push({ code: "custom", input: given, path: [given.kind, ...path], message });
    for (const [index, { secret }] of variablesOf(given).entries())
      if (secret)
        report(
          [given.kind === "remote" ? "headers" : "env", String(index), "secret"],
          "a template has no secrets: name a property of configSchema, as in ${config.apiKey}, and mark that writeOnly",
        );
    if (given.kind === "remote" && given.urlSecret)
      report(
        ["url"],
        "a template has no secrets: everybody sees its URL. With a query that is none, say urlSecret: false",
      );
  })
  // Without secrets, all values are given.
  .transform((given): StoredLaunch =>
    withEscapes(mapVariables(given, (variable) => ({ ...variable, value: variable.value ?? "" }))),
  );

const NOTHING_TO_CONFIGURE = { type: "object", properties: {}, additionalProperties: false };

/** A template as its file has it. Whether `configSchema` is one is checked when a tool is made. */
export const templateFile = z.strictObject({
  name: line(100),
  description: plainText(10_000).default(""),
  repository: z
    .url({ protocol: /^https?$/ })
    .max(2_048)
    .nullish()
    .transform((value) => value ?? null),
  version: line(255)
    .nullish()
    .transform((value) => value ?? null),
  launch,
  configSchema: z.record(z.string(), z.unknown()).default(NOTHING_TO_CONFIGURE),
});

/** The template of a file, whose name without its ending is the id; or what is wrong with it. */
export function readTemplate(
  file: string,
  text: string,
): { template: Omit<Template, "source"> } | { problems: FileProblem[] } {
  const id = file.slice(0, -TEMPLATE_ENDING.length);
  if (!isTemplateId(id)) {
    const message = `The name of a template's file is words of a-z and 0-9, joined by ".", "_" or "-".`;
    return { problems: [{ path: "", message, line: 1 }] };
  }
  try {
    return { template: { id, ...parseYaml(templateFile, text, ""), authorId: null } };
  } catch (error) {
    return { problems: fileProblemsOf(error) };
  }
}

/** @throws the error where it is none of a file */
export function fileProblemsOf(error: unknown): FileProblem[] {
  if (!(error instanceof ToolyardError) || error.code !== "BAD_USER_INPUT") throw error;
  return error.extensions["problems"] as FileProblem[]; // as `badFile` makes them
}
