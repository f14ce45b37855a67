import { expect, test } from "vitest";
import type { ReplicaState } from "../deployment.ts";
import { describeReplica } from "./settle.ts";

test("a replica that starts again does not quote the run before; one whose run ended quotes it", () => {
  const why = { reason: "The server exited with code 0.", words: "Its last line was: bye." };
  const replica = (incarnation: number, state: ReplicaState) => ({
    id: "replica",
    ordinal: 0,
    restarts: 0,
    incarnation,
    state,
  });
  const running = replica(1, { phase: "READY", since: 0 });
  const ended = replica(1, { phase: "BACKOFF", until: 1_000, ...why });
  const starting = replica(2, { phase: "STARTING", since: 0, ...why });
  expect(describeReplica(running, ended, 0)?.words).toBe(why.words);
  expect(describeReplica(ended, starting, 0)).toMatchObject({ message: "Replica 0 is starting.", words: null });
});
