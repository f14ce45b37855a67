import type { ExecutionResult } from "graphql";
import { parse } from "graphql";
import { afterEach, expect, test } from "vitest";
import { anonymous } from "@toolyard/service-kit";
import type { Engine, OperationRequest } from "../executor.ts";
import type { Graph } from "../../supergraph/live-graph.ts";
import { createShadow, type AnsweredOperation, type Shadow, type ShadowOptions, type ShadowOutcome } from "./shadow.ts";

const query = "{ name }";
const named = (name: string): ExecutionResult => ({ data: { name } });

interface Subject {
  shadow: Shadow;
  answered(result: ExecutionResult, more?: Partial<AnsweredOperation["operation"]>): void;
  outcomes: ShadowOutcome[];
  asked: OperationRequest[];
  logged: object[];
  held(): number;
  /** Puts another graph into service. */
  swap(): void;
}

const shadows: Shadow[] = [];
afterEach(async () => {
  for (const shadow of shadows.splice(0)) await shadow.close();
});

/** @param answers what an engine answers when it is asked again */
function createSubject(
  answers: Partial<Record<Engine, (() => Promise<ExecutionResult> | ExecutionResult)[]>>,
  options: Partial<ShadowOptions> & { isForApollo?: boolean } = {},
): Subject {
  const asked: OperationRequest[] = [];
  const executor = {
    isForApollo: () => options.isForApollo ?? true,
    async execute(request: OperationRequest) {
      asked.push(request);
      const answer = answers[request.engine ?? "toolyard"]?.shift();
      if (!answer) throw new Error("This was not to be asked.");
      return answer();
    },
  };
  // The shadow knows no more of a graph.
  const graph = { executor } as unknown as Graph;
  let current = graph;
  let held = 0;
  const outcomes: ShadowOutcome[] = [];
  const logged: object[] = [];
  const shadow = createShadow({
    graph: {
      get current() {
        return current;
      },
      hold: () => {
        held++;
        return { graph, release: () => void held-- };
      },
    },
    share: 1,
    engines: ["toolyard", "apollo"],
    count: (outcome) => outcomes.push(outcome),
    log: { warn: (...line: unknown[]) => void logged.push(line[0] as object) },
    ...options,
  });
  shadows.push(shadow);
  return {
    shadow,
    answered: (result, more = {}) =>
      shadow.answered({
        graph,
        request: { query, variables: { secret: "swordfish" }, context: { caller: anonymous, requestId: "r1" } },
        operation: { kind: "query", hash: "abc", name: "Names", document: parse(query), ...more },
        result,
      }),
    outcomes,
    asked,
    logged,
    held: () => held,
    swap: () => (current = { executor } as unknown as Graph),
  };
}

async function settled({ outcomes, held }: Subject, count = 1): Promise<void> {
  while (outcomes.length < count || held() > 0) await new Promise((resolve) => setImmediate(resolve));
}

test("the same answer is counted, and what runs again records nothing", async () => {
  const subject = createSubject({ apollo: [() => named("a")] });
  subject.answered(named("a"));
  expect(subject.asked).toEqual([]); // after the answer
  await settled(subject);
  expect(subject.outcomes).toEqual(["same"]);
  expect(subject.logged).toEqual([]);
  expect(Object.keys(subject.asked[0]?.context ?? {})).toEqual(["caller", "requestId", "clientAddress"]);
});

test("a difference that both say twice is counted each time, and logged once, by hash and place alone", async () => {
  const twice = <Value>(value: Value) => [() => value, () => value, () => value, () => value];
  const subject = createSubject({ apollo: twice(named("b")), toolyard: twice(named("a")) });
  for (let n = 1; n <= 2; n++) {
    subject.answered(named("a"));
    await settled(subject, n);
  }
  expect(subject.outcomes).toEqual(["differed", "differed"]);
  expect(subject.logged).toEqual([
    { request_id: "r1", operation: "Names", hash: "abc", engines: ["toolyard", "apollo"], data: ["name"], errors: [] },
  ]);
});

test.each([
  ["the answering one now says so, too", { apollo: [() => named("b")], toolyard: [() => named("b")] }],
  ["the other one now says the first", { apollo: [() => named("b"), () => named("a")], toolyard: [() => named("a")] }],
])("data that changed in between are no difference: %s", async (_what, answers) => {
  const subject = createSubject(answers);
  subject.answered(named("a"));
  await settled(subject);
  expect(subject.outcomes).toEqual(["unsettled"]);
  expect(subject.logged).toEqual([]);
});

test("only queries are run again, and of those the share that is asked for", async () => {
  const draws = [0.49, 0.5, 0.99];
  const options = { share: 0.5, random: () => draws.shift() ?? 1 };
  const subject = createSubject({ apollo: [() => named("a")] }, options);
  subject.answered(named("a"), { kind: "mutation" });
  subject.answered(named("a"), { kind: "subscription" });
  for (let n = 0; n < 3; n++) subject.answered(named("a"));
  await settled(subject);
  expect(draws).toEqual([]);
  expect(subject.asked).toHaveLength(1);
});

test("what only one of the two can run, and what ran on an earlier supergraph, is skipped", () => {
  const unfit = createSubject({}, { isForApollo: false });
  unfit.answered(named("a"));
  const swapped = createSubject({});
  swapped.swap();
  swapped.answered(named("a"));
  expect([unfit.outcomes, swapped.outcomes]).toEqual([["skipped"], ["skipped"]]);
  expect([unfit.asked, swapped.asked]).toEqual([[], []]);
});

test("more than are to run at once are skipped; the end of the gateway ends those that run", async () => {
  const pending: ((result: ExecutionResult) => void)[] = [];
  const wait = () => new Promise<ExecutionResult>((resolve) => pending.push(resolve));
  const subject = createSubject({
    apollo: Array.from({ length: 5 }, () => wait),
    toolyard: Array.from({ length: 4 }, () => wait),
  });
  for (let n = 0; n < 5; n++) subject.answered(named("a"));
  expect(subject.outcomes).toEqual(["skipped"]);
  while (pending.length < 4) await new Promise((resolve) => setImmediate(resolve));
  expect(subject.held()).toBe(4);
  const closing = subject.shadow.close();
  for (const { signal } of subject.asked) expect(signal?.aborted).toBe(true);
  // As executions end that are aborted.
  while (subject.held() > 0) {
    pending.shift()?.({ errors: [] });
    await new Promise((resolve) => setImmediate(resolve));
  }
  await closing;
  subject.answered(named("a"));
  expect(subject.outcomes).toEqual(Array.from({ length: 6 }, () => "skipped"));
  expect(subject.logged).toEqual([]);
});

test("what cannot be compared is counted, and hurts nobody", async () => {
  const subject = createSubject({ apollo: [() => Promise.reject(new Error("swordfish"))] });
  subject.answered(named("a"));
  await settled(subject);
  expect(subject.outcomes).toEqual(["failed"]);
  expect(JSON.stringify(subject.logged)).not.toContain("swordfish");
});
