import type { Message } from "../protocol/json-rpc.ts";
import type { Child, ChildHandler } from "./child.ts";

/** A child that says what it is told to say. */
export function fakeChild(): { child: Child; sent: Message[]; say(message: Message): void; die(): void } {
  const sent: Message[] = [];
  let handler: ChildHandler | null = null;
  const child: Child = {
    pid: 1,
    startedAt: 0,
    end: null,
    closing: false,
    printed: "",
    gone: Promise.resolve(),
    handle: (next) => (handler = next),
    send: (text) => sent.push(JSON.parse(text)),
    close: () => Promise.resolve(),
    kill: () => undefined,
  };
  return {
    child,
    sent,
    say: (message) => handler?.onMessage(message, JSON.stringify(message)),
    die: () => handler?.onEnd({ code: 1, signal: null, words: "", reason: "the server exited with code 1" }),
  };
}
