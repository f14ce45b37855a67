import { ProtocolError, SdkError, SdkErrorCode, SdkHttpError } from "@modelcontextprotocol/client";
import { messageOf } from "@toolyard/service-kit/errors/errors.ts";
import { shortened } from "@toolyard/service-kit/errors/graphql-error.ts";
import { parseJson } from "@toolyard/service-kit/json.ts";
import { z } from "zod";
import { answeredOtherwise, GraphError } from "./graph.ts";

/** The words of a refusal: of the proxy's, which is a JSON-RPC error or problem+json, and of any other server's in their form. */
const refusalShape = z.union([
  z.object({ error: z.object({ message: z.string().min(1) }) }).transform(({ error }) => error.message),
  z.object({ detail: z.string().min(1) }).transform(({ detail }) => detail),
]);

/** As much of a text that nobody knows as is shown. */
const MAX_SHOWN_LENGTH = 200;

/** Puts an error that an MCP client of the SDK threw at `mcpUrl` in the words of whoever refused the call. Any other stays as it is. */
export function mcpFailure(error: unknown, mcpUrl: string): unknown {
  // As undici says that there was no answer; `cause` says why.
  if (error instanceof TypeError && error.message === "fetch failed") {
    return new GraphError(
      "UNREACHABLE",
      `Nobody answers at ${mcpUrl} (${messageOf(error.cause)}). That address is made of PUBLIC_URL or PROXY_URL, where Toolyard is started: set them to what clients reach.`,
      error,
    );
  }
  if (error instanceof SdkHttpError) return refusalOf(error, mcpUrl);
  if (error instanceof ProtocolError && error.message === "")
    return new Error(`The tool's server answered with the error ${error.code}, and did not say why.`, { cause: error });
  const isOfAnotherType = error instanceof SdkError && error.code === SdkErrorCode.ClientHttpUnexpectedContent;
  // The body is no JSON, or none of JSON-RPC.
  if (isOfAnotherType || error instanceof SyntaxError || error instanceof z.core.$ZodError)
    return answeredOtherwise(mcpUrl, "200", error);
  return error;
}

function refusalOf(error: SdkHttpError, mcpUrl: string): Error {
  const { status, statusText, data } = error;
  const text = typeof data.text === "string" ? data.text.trim() : "";
  const refusal = refusalShape.safeParse(parseJson(text));
  if (refusal.success) return new Error(refusal.data, { cause: error });
  const answer = `${status} ${statusText ?? ""}`.trim();
  // The client's own words, which say where it was sent to.
  if (status < 400)
    return answeredOtherwise(mcpUrl, `${answer} (${error.message.replace(/^Error POSTing to endpoint: /, "")})`, error);
  if (text === "" || text.startsWith("<")) return answeredOtherwise(mcpUrl, answer, error);
  const words = shortened(text.replace(/\s+/g, " "), MAX_SHOWN_LENGTH);
  return new Error(`${mcpUrl} answered ${answer}: ${words}`, { cause: error });
}
