import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { Client as V1Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as V1Transport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { eventually } from "@toolyard/testing/eventually.ts";
import { describe, expect, test } from "vitest";

import { everything, fixture, type RunningBridge, startBridge } from "./bridge.fixture.ts";

/** Real clients against real servers: what a user would notice. */

const info = { name: "test", version: "1" };
const pinned = { versionNegotiation: { mode: { pin: "2026-07-28" } } };
const elicitation = { capabilities: { elicitation: {} } };

async function v2(running: RunningBridge, options: ConstructorParameters<typeof Client>[1] = {}): Promise<Client> {
  const client = new Client(info, options);
  if (client !== undefined && options?.capabilities?.elicitation !== undefined) {
    client.setRequestHandler("elicitation/create", () => ({ action: "accept", content: { name: "Ada" } }));
  }
  await client.connect(new StreamableHTTPClientTransport(running.url));
  return client;
}

describe("the real server-everything", () => {
  test("serves the v1 client: tools, prompts, resources, completion, progress, sampling, elicitation, roots and logging", async () => {
    await using running = await startBridge(everything);
    const client = new V1Client(info, {
      capabilities: { sampling: {}, elicitation: {}, roots: { listChanged: true } },
    });
    const logged: unknown[] = [];
    client.setRequestHandler(CreateMessageRequestSchema, () => ({
      model: "m",
      role: "assistant",
      content: { type: "text", text: "sampled!" },
    }));
    client.setRequestHandler(ElicitRequestSchema, () => ({ action: "accept", content: { name: "Ada" } }));
    client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: "file:///here", name: "here" }] }));
    client.setNotificationHandler(LoggingMessageNotificationSchema, (message) => void logged.push(message));
    const transport = new V1Transport(running.url);
    // The SDK's own types disagree under exactOptionalPropertyTypes (sessionId); the object is what it says it is.
    await client.connect(transport as Parameters<typeof client.connect>[0]);
    const names = (await client.listTools()).tools.map((tool) => tool.name);
    expect(names).toEqual(
      expect.arrayContaining(["echo", "trigger-long-running-operation", "trigger-sampling-request"]),
    );
    expect((await client.callTool({ name: "echo", arguments: { message: "hi" } })).content).toEqual([
      { type: "text", text: "Echo: hi" },
    ]);
    const progress: number[] = [];
    await client.callTool(
      { name: "trigger-long-running-operation", arguments: { duration: 0.2, steps: 2 } },
      undefined,
      {
        onprogress: (step) => progress.push(step.progress),
      },
    );
    expect(progress).toEqual([1, 2]);
    expect(
      JSON.stringify(await client.callTool({ name: "trigger-sampling-request", arguments: { prompt: "p" } })),
    ).toContain("sampled!");
    expect((await client.listPrompts()).prompts.length).toBeGreaterThan(0);
    expect((await client.listResources()).resources.length).toBeGreaterThan(0);
    await client.setLoggingLevel("debug");
    await client.callTool({ name: "toggle-simulated-logging", arguments: {} });
    await eventually("a log message", () => logged.length > 0);
    await transport.terminateSession();
    await client.close();
    expect(running.bridge.health().body.sessions).toBe(0);
  });

  test.each([
    ["default (session era)", {}, "legacy"],
    ["pinned to 2026-07-28", pinned, "modern"],
  ])("serves the v2 client, %s", async (_name, options, era) => {
    await using running = await startBridge(everything);
    const client = await v2(running, options);
    expect(client.getProtocolEra()).toBe(era);
    expect((await client.listTools()).tools.map((tool) => tool.name)).toContain("echo");
    expect((await client.callTool({ name: "echo", arguments: { message: "hi" } })).content).toEqual([
      { type: "text", text: "Echo: hi" },
    ]);
    const progress: number[] = [];
    await client.callTool(
      { name: "trigger-long-running-operation", arguments: { duration: 0.2, steps: 2 } },
      { onprogress: (step: { progress: number }) => void progress.push(step.progress) },
    );
    expect(progress).toEqual([1, 2]);
    expect((await client.listPrompts()).prompts.length).toBeGreaterThan(0);
    const [resource] = (await client.listResources()).resources;
    expect((await client.readResource({ uri: resource?.uri ?? "" })).contents.length).toBe(1);
    await expect(client.callTool({ name: "echo", arguments: {} })).resolves.toMatchObject({ isError: true });
    await client.close();
  });
});

describe("a server of the session era", () => {
  test("asks a stateless client for input and goes on with the same call", async () => {
    await using running = await startBridge(fixture("server"));
    const client = await v2(running, { ...pinned, ...elicitation });
    const answer = await client.callTool({ name: "elicitTwice", arguments: {} });
    expect(JSON.stringify(answer)).toContain("Ada");
    const calls = await client.callTool({ name: "calls", arguments: {} });
    expect(calls.content).toEqual([{ type: "text", text: "2" }]); // elicitTwice once, and this one
    await client.close();
  });

  test("tells a stateless subscriber what changed", async () => {
    await using running = await startBridge(fixture("server"));
    const client = await v2(running, pinned);
    const changed: string[] = [];
    client.setNotificationHandler("notifications/tools/list_changed", () => void changed.push("tools"));
    client.setNotificationHandler(
      "notifications/resources/updated",
      (message) => void changed.push(message.params.uri),
    );
    const subscription = await client.listen({ toolsListChanged: true, resourceSubscriptions: ["test://watched"] });
    await client.callTool({ name: "change", arguments: {} });
    await eventually("both changes", () => changed.length === 2);
    expect(changed).toEqual(["tools", "test://watched"]);
    await subscription.close();
    await client.close();
  });

  test("is told when a stateless client aborts a call", async () => {
    await using running = await startBridge(fixture("server"));
    const client = await v2(running, pinned);
    const abort = new AbortController();
    const call = client.callTool(
      { name: "slow", arguments: { steps: 1000 } },
      { signal: abort.signal, onprogress: () => abort.abort() },
    );
    await expect(call).rejects.toThrow();
    await eventually("the cancellation", async () => (await running.callTool("cancelled")) !== "[]");
    await client.close();
  });
});

describe("a server that speaks only the stateless revision", () => {
  test.each([
    ["v2 client of the session era", {}],
    ["v2 client pinned to 2026-07-28", pinned],
  ])("serves the %s, input included", async (_name, options) => {
    await using running = await startBridge(fixture("stateless-only"));
    const client = await v2(running, { ...options, ...elicitation });
    expect(client.getInstructions()).toBe("ask away");
    expect((await client.listTools()).tools.map((tool) => tool.name)).toEqual(["echo", "greet"]);
    expect((await client.callTool({ name: "echo", arguments: { message: "hi" } })).content).toEqual([
      { type: "text", text: "hi" },
    ]);
    expect((await client.callTool({ name: "greet", arguments: {} })).content).toEqual([
      { type: "text", text: "hello Ada" },
    ]);
    await client.close();
  });
});
