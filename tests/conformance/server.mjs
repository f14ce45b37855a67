/**
 * A server with everything that the MCP conformance suite asks for, written with the SDK's v2: `node server.mjs stdio`, or over HTTP on
 * PORT. Both protocol eras. Its `requestState` is sealed with a key of its process, as a server's is that was not told of replicas.
 */
import { randomBytes, randomUUID } from "node:crypto";
import http from "node:http";
import { toNodeHandler } from "@modelcontextprotocol/node";
import {
  acceptedContent,
  completable,
  createMcpHandler,
  createRequestStateCodec,
  fromJsonSchema,
  hostHeaderValidationResponse,
  inputRequired,
  isLegacyRequest,
  localhostAllowedHostnames,
  localhostAllowedOrigins,
  McpServer,
  originValidationResponse,
  ResourceTemplate,
  WebStandardStreamableHTTPServerTransport,
} from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import { z } from "zod";

const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
const WAV = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=";
const CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities";

const codec = createRequestStateCodec({ key: randomBytes(32) });
const text = (value) => ({ content: [{ type: "text", text: value }] });
const sleep = (ms) =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
const object = (properties, required = Object.keys(properties)) => ({ type: "object", properties, required });
const string = { type: "string" };
const say = (words) => [{ role: "user", content: { type: "text", text: words } }];

const schema2020 = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  $defs: { address: { $anchor: "addressDef", type: "object", properties: { street: string, city: string } } },
  properties: {
    name: string,
    address: { $ref: "#/$defs/address" },
    contactMethod: { type: "string", enum: ["phone", "email"] },
    phone: string,
    email: string,
  },
  allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
  if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
  then: { required: ["phone"] },
  else: { required: ["email"] },
  additionalProperties: false,
};

/** @param changed Tells listeners of the stateless revision; null: the server's own notifications do. */
function makeServer(changed) {
  const server = new McpServer(
    { name: "toolyard-conformance", version: "1.0.0" },
    {
      capabilities: { logging: {}, completions: {}, resources: { subscribe: true, listChanged: true } },
      requestState: { verify: codec.verify },
    },
  );
  const tool = (name, description, inputSchema, run) =>
    inputSchema === null
      ? server.registerTool(name, { description }, run)
      : server.registerTool(name, { description, inputSchema }, run);

  tool("test_simple_text", "Text", null, () => text("This is a simple text response for testing."));
  tool("test_image_content", "An image", null, () => ({
    content: [{ type: "image", data: PNG, mimeType: "image/png" }],
  }));
  tool("test_audio_content", "A sound", null, () => ({
    content: [{ type: "audio", data: WAV, mimeType: "audio/wav" }],
  }));
  tool("test_embedded_resource", "A resource", null, () => ({
    content: [
      {
        type: "resource",
        resource: {
          uri: "test://embedded-resource",
          mimeType: "text/plain",
          text: "This is an embedded resource content.",
        },
      },
    ],
  }));
  tool("test_multiple_content_types", "All sorts", null, () => ({
    content: [
      { type: "text", text: "Multiple content types test:" },
      { type: "image", data: PNG, mimeType: "image/png" },
      {
        type: "resource",
        resource: {
          uri: "test://mixed-content-resource",
          mimeType: "application/json",
          text: JSON.stringify({ test: "data", value: 123 }),
        },
      },
    ],
  }));
  tool("test_tool_with_logging", "Log lines", null, async (context) => {
    await context.mcpReq.log("info", "Tool execution started");
    await sleep(50);
    await context.mcpReq.log("info", "Tool processing data");
    await sleep(50);
    await context.mcpReq.log("info", "Tool execution completed");
    return text("Logged three times.");
  });
  tool("test_logging_tool", "A log line", null, async (context) => {
    await context.mcpReq.log("info", "A log line");
    return text("Logged.");
  });
  tool("test_error_handling", "Fails", null, () => {
    throw new Error("This tool intentionally returns an error for testing");
  });
  tool("test_tool_with_progress", "Progress", null, async (context) => {
    const progressToken = context.mcpReq._meta?.progressToken;
    for (const progress of [0, 50, 100]) {
      if (progressToken !== undefined)
        await context.mcpReq.notify({
          method: "notifications/progress",
          params: { progressToken, progress, total: 100 },
        });
      await sleep(50);
    }
    return text("Done.");
  });
  tool("test_sampling", "Asks the client's model", z.object({ prompt: z.string() }), async ({ prompt }, context) => {
    // On the call's own stream: the client may not have opened another yet.
    const answer = await context.mcpReq.send({
      method: "sampling/createMessage",
      params: { messages: say(prompt), maxTokens: 100 },
    });
    return text(`LLM response: ${answer.content.text}`);
  });
  const askUser = (context, params) => context.mcpReq.send({ method: "elicitation/create", params });
  tool("test_elicitation", "Asks the user", z.object({ message: z.string() }), async ({ message }, context) => {
    const { action, content } = await askUser(context, {
      message,
      requestedSchema: object({
        username: { ...string, description: "User's response" },
        email: { ...string, description: "User's email address" },
      }),
    });
    return text(`User response: action=${action}, content=${JSON.stringify(content ?? {})}`);
  });
  const elicit = (name, properties) =>
    tool(name, "Asks the user", null, async (context) => {
      const { action, content } = await askUser(context, {
        message: "Please fill in the form",
        requestedSchema: object(properties, []),
      });
      return text(`Elicitation completed: action=${action}, content=${JSON.stringify(content ?? {})}`);
    });
  elicit("test_elicitation_sep1034_defaults", {
    name: { ...string, default: "John Doe" },
    age: { type: "integer", default: 30 },
    score: { type: "number", default: 95.5 },
    status: { ...string, enum: ["active", "inactive", "pending"], default: "active" },
    verified: { type: "boolean", default: true },
  });
  const titled = (values, word) =>
    values.map((value, index) => ({ const: value, title: `${["First", "Second", "Third"][index]} ${word}` }));
  elicit("test_elicitation_sep1330_enums", {
    untitledSingle: { ...string, enum: ["option1", "option2", "option3"] },
    titledSingle: { ...string, oneOf: titled(["value1", "value2", "value3"], "Option") },
    legacyEnum: {
      ...string,
      enum: ["opt1", "opt2", "opt3"],
      enumNames: ["Option One", "Option Two", "Option Three"],
    },
    untitledMulti: { type: "array", items: { ...string, enum: ["option1", "option2", "option3"] } },
    titledMulti: { type: "array", items: { anyOf: titled(["value1", "value2", "value3"], "Choice") } },
  });
  tool("test_reconnection", "Ends its stream in the middle", null, async (context) => {
    context.http?.closeSSE?.();
    await sleep(100);
    return text("Reconnected.");
  });
  tool("json_schema_2020_12_tool", "Tool with JSON Schema 2020-12 features", fromJsonSchema(schema2020), () =>
    text("Valid."),
  );

  const askName = (message, key = "name") =>
    inputRequired.elicit({ message, requestedSchema: object({ [key]: string }) });
  const askOk = () =>
    inputRequired.elicit({ message: "Please confirm", requestedSchema: object({ ok: { type: "boolean" } }) });
  const accepted = (context, key) => acceptedContent(context.mcpReq.inputResponses, key);
  const answered = (context, key) => context.mcpReq.inputResponses?.[key];
  tool("test_input_required_result_elicitation", "Asks for a name", null, (context) => {
    const content = accepted(context, "user_name");
    return typeof content?.name === "string"
      ? text(`Hello, ${content.name}!`)
      : inputRequired({ inputRequests: { user_name: askName("What is your name?") } });
  });
  tool("test_input_required_result_sampling", "Asks the client's model", null, (context) => {
    const answer = answered(context, "capital_question");
    return answer === undefined
      ? inputRequired({
          inputRequests: {
            capital_question: inputRequired.createMessage({
              messages: say("What is the capital of France?"),
              maxTokens: 100,
            }),
          },
        })
      : text(`The model says: ${answer.content?.text}`);
  });
  tool("test_input_required_result_list_roots", "Asks for roots", null, (context) => {
    const answer = answered(context, "client_roots");
    return answer === undefined
      ? inputRequired({ inputRequests: { client_roots: inputRequired.listRoots() } })
      : text(`Roots: ${answer.roots.map(({ uri }) => uri).join(", ")}`);
  });
  const confirmed = (name) =>
    tool(name, "Asks for a word, with a state", null, async (context) =>
      accepted(context, "confirm") !== undefined && context.mcpReq.requestState()?.step === name
        ? text("state-ok")
        : inputRequired({ inputRequests: { confirm: askOk() }, requestState: await codec.mint({ step: name }) }),
    );
  confirmed("test_input_required_result_request_state");
  confirmed("test_input_required_result_tampered_state");
  tool("test_input_required_result_multiple_inputs", "Asks for three things", null, async (context) => {
    const answers = ["user_name", "greeting", "client_roots"].map((key) => answered(context, key));
    if (answers.every((answer) => answer !== undefined)) return text("All inputs received.");
    return inputRequired({
      inputRequests: {
        user_name: askName("What is your name?"),
        greeting: inputRequired.createMessage({ messages: say("Generate a greeting"), maxTokens: 50 }),
        client_roots: inputRequired.listRoots(),
      },
      requestState: await codec.mint({ step: 1 }),
    });
  });
  tool("test_input_required_result_multi_round", "Asks twice", null, async (context) => {
    const { step = 0 } = context.mcpReq.requestState() ?? {};
    if (step === 0 || (step === 1 && accepted(context, "step1") === undefined))
      return inputRequired({
        inputRequests: { step1: askName("Step 1: What is your name?") },
        requestState: await codec.mint({ step: 1 }),
      });
    if (step === 1 || accepted(context, "step2") === undefined)
      return inputRequired({
        inputRequests: { step2: askName("Step 2: What is your favorite color?", "color") },
        requestState: await codec.mint({ step: 2, name: accepted(context, "step1")?.name }),
      });
    return text(`Name and color received.`);
  });
  tool("test_input_required_result_capabilities", "Asks for what the client can", null, (context) => {
    const declared = context.mcpReq.envelope?.[CAPABILITIES_KEY] ?? {};
    return inputRequired({
      inputRequests: {
        ...(declared.sampling && {
          sample: inputRequired.createMessage({ messages: say("Say something"), maxTokens: 10 }),
        }),
        ...(declared.elicitation && { ask: askName("What is your name?") }),
      },
    });
  });
  tool("test_missing_capability", "Needs the client's model", null, () =>
    inputRequired({
      inputRequests: { sample: inputRequired.createMessage({ messages: say("Say something"), maxTokens: 10 }) },
    }),
  );
  tool("test_streaming_elicitation", "Asks for a name", null, (context) =>
    accepted(context, "user_name") === undefined
      ? inputRequired({ inputRequests: { user_name: askName("What is your name?") } })
      : text("Thank you."),
  );
  tool("test_trigger_tool_change", "Changes the tools", null, () => {
    if (changed === null) server.sendToolListChanged();
    else changed.toolsChanged();
    return text("Changed.");
  });
  tool("test_trigger_prompt_change", "Changes the prompts", null, () => {
    if (changed === null) server.sendPromptListChanged();
    else changed.promptsChanged();
    return text("Changed.");
  });

  tool(
    "test_region",
    "Has a parameter that a header repeats",
    z.object({ region: z.string().meta({ "x-mcp-header": "Region" }) }),
    ({ region }) => text(region),
  );

  const resource = (name, uri, mimeType, content) =>
    server.registerResource(name, uri, { description: name, mimeType }, () => ({
      contents: [{ uri, mimeType, ...content }],
    }));
  resource("static-text", "test://static-text", "text/plain", {
    text: "This is the content of the static text resource.",
  });
  resource("static-binary", "test://static-binary", "image/png", { blob: PNG });
  resource("watched-resource", "test://watched-resource", "text/plain", { text: "Watched." });
  server.registerResource(
    "template",
    new ResourceTemplate("test://template/{id}/data", { list: undefined }),
    { description: "template", mimeType: "application/json" },
    (uri, { id }) => ({
      contents: [
        {
          uri: uri.href,
          mimeType: "application/json",
          text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${String(id)}` }),
        },
      ],
    }),
  );
  server.server.setRequestHandler("resources/subscribe", () => ({}));
  server.server.setRequestHandler("resources/unsubscribe", () => ({}));

  const message = (content) => ({ role: "user", content });
  const prompt = (name, argsSchema, run) =>
    server.registerPrompt(name, { description: name, ...(argsSchema && { argsSchema }) }, run);
  prompt("test_simple_prompt", null, () => ({
    messages: [message({ type: "text", text: "This is a simple prompt for testing." })],
  }));
  const argument = completable(z.string(), (value) =>
    ["paris", "park", "party"].filter((word) => word.startsWith(value)),
  );
  prompt("test_prompt_with_arguments", z.object({ arg1: argument, arg2: z.string() }), ({ arg1, arg2 }) => ({
    messages: [message({ type: "text", text: `Prompt with arguments: arg1='${arg1}', arg2='${arg2}'` })],
  }));
  prompt("test_prompt_with_embedded_resource", z.object({ resourceUri: z.string() }), ({ resourceUri }) => ({
    messages: [
      message({
        type: "resource",
        resource: { uri: resourceUri, mimeType: "text/plain", text: "Embedded resource content for testing." },
      }),
      message({ type: "text", text: "Please process the embedded resource above." }),
    ],
  }));
  prompt("test_prompt_with_image", null, () => ({
    messages: [
      message({ type: "image", data: PNG, mimeType: "image/png" }),
      message({ type: "text", text: "Please analyze the image above." }),
    ],
  }));
  prompt("test_input_required_result_prompt", null, (context) => {
    const content = accepted(context, "user_context");
    return content === undefined
      ? inputRequired({ inputRequests: { user_context: askName("What context should the prompt use?", "context") } })
      : { messages: [message({ type: "text", text: `Context: ${String(content.context)}` })] };
  });
  return server;
}

function serveHttp(port) {
  const stateless = createMcpHandler(() => makeServer(stateless.notify), { legacy: "reject" });
  const sessions = new Map();
  async function handle(request, options) {
    const refused =
      hostHeaderValidationResponse(request, localhostAllowedHostnames()) ??
      originValidationResponse(request, localhostAllowedOrigins());
    if (refused) return refused;
    if (!(await isLegacyRequest(request))) return stateless.fetch(request, options);
    const id = request.headers.get("mcp-session-id");
    let transport = id && sessions.get(id);
    if (id && !transport)
      return Response.json(
        { jsonrpc: "2.0", id: null, error: { code: -32001, message: "Session not found" } },
        { status: 404 },
      );
    if (!transport) {
      transport = new WebStandardStreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        onsessioninitialized: (newId) => sessions.set(newId, transport),
        onsessionclosed: (oldId) => sessions.delete(oldId),
      });
      await makeServer(null).connect(transport);
    }
    return transport.handleRequest(request, options);
  }
  const serve = toNodeHandler({ fetch: handle });
  http.createServer((request, response) => void serve(request, response)).listen(port, "127.0.0.1");
}

if (process.argv[2] === "stdio") serveStdio(() => makeServer(null));
else serveHttp(Number(process.env.PORT));
