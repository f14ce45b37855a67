import { ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import type { ImageReference } from "./image-reference.ts";

// Engines and registries tell by words only what is the matter.
const DENIED =
  /unauthorized|authentication required|access denied|access to the resource is denied|forbidden|\b40[13]\b/i;
const MISSING =
  /not found|manifest unknown|name unknown|no such (?:image|manifest)|repository .*does not exist|invalid reference|must be lowercase|\b404\b/i;

/** Nothing listens there. */
const REFUSED = /connection refused/i;
/** Names without a registry that local builds give. */
const LOCAL = "localhost";
const WAY_OUT =
  "If no registry has it, build or load it into the engine, or onto the cluster's nodes; else begin its name with the registry that does.";

/** Why an image cannot be had, as the engine or cluster that pulled it `said`. */
export function pullFailure({ name, registry }: ImageReference, said: string): ToolyardError {
  const sentence = `${said.trim().replace(/\s+/g, " ").slice(0, 500).replace(/\.$/, "")}.`;
  const words = registry === LOCAL || REFUSED.test(said) ? `${sentence} ${WAY_OUT}` : sentence;
  if (DENIED.test(words))
    return new ToolyardError(
      "BAD_USER_INPUT",
      `${registry} does not give out the image ${name}: it does not exist, or Toolyard's credentials for ${registry} are missing or wrong. It said: ${words}`,
    );
  if (MISSING.test(words))
    return new ToolyardError("BAD_USER_INPUT", `There is no image ${name}. ${registry} said: ${words}`);
  return new ToolyardError("UPSTREAM_UNAVAILABLE", `The image ${name} cannot be pulled now: ${words}`);
}
