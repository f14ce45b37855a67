import { createSecretMask } from "@toolyard/service-kit/secret-mask.ts";
import { expect, test } from "vitest";
import { MAX_BATCH } from "../protocol/era.ts";
import { takeMessages } from "./child.ts";

function take(text: string, sharesThread = false) {
  const seen = { others: [] as string[], log: [] as string[], raws: [] as string[], replies: [] as string[] };
  const count = takeMessages(text, createSecretMask(["a-secret"]), {
    log: { write: (_stream, line) => seen.log.push(line) },
    sharesThread,
    take: (_message, raw) => seen.raws.push(raw),
    other: (line) => seen.others.push(line),
    reply: (line) => seen.replies.push(line),
  });
  return { ...seen, count };
}

const list = (items: readonly string[]): string => `[${items.join(",")}]`;

test("of a list, what is no message is handed on by itself", () => {
  const ping = '{"jsonrpc":"2.0","method":"ping","id":1}';
  const { others, raws, count } = take(list(["1", ping, '"x"']));
  expect({ others, raws, count }).toEqual({ others: ["1", '"x"'], raws: [ping], count: 3 });
});

test("an empty list costs what a message does", () => {
  expect(take("[]").count).toBe(1);
});

test("a list of more than a batch may have is left out whole, and told of once", () => {
  const message = '{"jsonrpc":"2.0","method":"x"}';
  expect(take(list(Array<string>(MAX_BATCH).fill(message))).raws).toHaveLength(MAX_BATCH);
  for (const item of ["1", "[]", message]) {
    const { others, raws, log, count } = take(list(Array<string>(MAX_BATCH + 1).fill(item)));
    expect({ others, raws, count }).toEqual({ others: [], raws: [], count: 1 });
    expect(log).toEqual(["a message of the server was a batch of more than 100 and is left out"]);
  }
});

test("where others share the thread, an answer with more values than anybody needs fails its call", () => {
  const answer = `{"jsonrpc":"2.0","id":7,"result":{"values":${list(Array<string>(210_000).fill("[]"))}}}`;
  expect(take(answer).raws).toEqual([answer]);
  const { raws, log } = take(answer, true);
  expect(log).toEqual(["a message of the server was of more than 200000 JSON values and is left out"]);
  expect(raws).toHaveLength(1);
  expect(JSON.parse(raws[0] ?? "")).toMatchObject({
    id: 7,
    error: { message: expect.stringContaining("ask for less") },
  });
});
