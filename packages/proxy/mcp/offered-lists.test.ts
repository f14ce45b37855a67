import { expect, test } from "vitest";
import { readOfferRequest } from "./offered-lists.ts";

test("a request with more values than anybody needs is left to a replica, and not parsed here", () => {
  const headers = { "mcp-method": "tools/list", "mcp-protocol-version": "2026-07-28" };
  const request = (values: number): Buffer => {
    const more = `[${Array<string>(values).fill("[]").join(",")}]`;
    const meta = `"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}`;
    return Buffer.from(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"more":${more},"_meta":{${meta}}}}`);
  };
  expect(readOfferRequest(request(90_000), headers)).toEqual({ method: "tools/list", idText: "1" });
  expect(readOfferRequest(request(110_000), headers)).toBeNull();
});
