import fc from "fast-check";
import { expect, test } from "vitest";
import { describeFailure, whyRefused, type Answer } from "./probe-failure.ts";

const anyText = fc.oneof(
  fc.string(),
  fc.constantFrom(
    "<!doctype html><p>Hello",
    '{"jsonrpc":"2.0","id":1,"result":{}}',
    '{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"WORDS-OF-THE-SERVER"}}',
    "[1]",
    "null",
    "event: endpoint\ndata: /messages\n\n",
  ),
);
const anyAnswer: fc.Arbitrary<Answer> = fc.record({
  asked: fc.constantFrom("initialize", "server/discover", "tools/list"),
  status: fc.integer({ min: 200, max: 599 }),
  contentType: fc.oneof(
    fc.constant(null),
    fc.constantFrom(
      "application/json",
      "application/json; charset=utf-8",
      "text/html",
      "text/event-stream",
      "TEXT/HTML",
    ),
    fc.string(),
  ),
  location: fc.oneof(fc.constant(null), fc.webUrl({ withQueryParameters: true })),
  isCircle: fc.boolean(),
  text: anyText,
});
const anyAsked = fc.record({
  kind: fc.constantFrom("stdio" as const, "http" as const, "image" as const, "remote" as const),
  port: fc.oneof(fc.constant(null), fc.nat()),
  hasHeaders: fc.boolean(),
});
const SENTENCE = /^[A-Z].*[.]$/s;

test("whatever is answered, the reason is a sentence without a word of the server's, and nothing but a good answer needs none", () => {
  fc.assert(
    fc.property(anyAnswer, anyAsked, (answer, asked) => {
      const mark = "WORDS-OF-THE-SERVER";
      const marked = {
        ...answer,
        contentType: answer.contentType === null ? null : `${answer.contentType}; ${mark}`,
        location: answer.location === null ? null : `${answer.location}#${mark}`,
        text: answer.text + (answer.text.startsWith("{") ? "" : mark),
      };
      const why = whyRefused(marked, asked);
      if (answer.status >= 300) expect(why).not.toBeNull();
      if (why === null) return;
      expect(why.reason).toMatch(SENTENCE);
      expect(why.reason).not.toContain(mark);
      expect(why.reason).not.toMatch(/npx|uvx|undefined|null/);
    }),
  );
});

test("whatever is thrown, the reason is a sentence, and what others say of it is apart", () => {
  const anyCode = fc.oneof(
    fc.constantFrom(
      "ECONNREFUSED",
      "ENOTFOUND",
      "CERT_HAS_EXPIRED",
      "ERR_SSL_WRONG_VERSION_NUMBER",
      "EPROTO",
      "HPE_INVALID_CONSTANT",
    ),
    fc.string(),
    fc.constant(undefined),
  );
  const anyError = fc.letrec<{ error: Error }>((tie) => ({
    error: fc
      .record({ code: anyCode, cause: fc.option(tie("error"), { nil: undefined }), several: fc.boolean() })
      .map(({ code, cause, several }) => {
        const error =
          several && cause ? new AggregateError([cause], "SECRET-WORDS") : new Error("SECRET-WORDS", { cause });
        return Object.assign(error, code === undefined ? {} : { code });
      }),
  })).error;
  fc.assert(
    fc.property(fc.oneof(anyError, fc.anything()), anyAsked, (error, asked) => {
      const { reason } = describeFailure(error, asked);
      expect(reason).toMatch(SENTENCE);
      expect(reason).not.toContain("SECRET-WORDS");
    }),
  );
});
