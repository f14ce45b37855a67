import type { InterfaceReading } from "@toolyard/bridge/interface.ts";
import { badInput, createLoader, createLoaderByArguments, type Caller } from "@toolyard/service-kit";
import type { Deployment, Environment } from "../deployment.ts";
import type { InterfaceChange, InterfaceHead, InterfaceKey, InterfaceStore } from "./interface-store.ts";
import { offerHash } from "./interface-snapshot.ts";

/** An interface, whose content is read where it is asked for. */
export interface InterfaceShape extends InterfaceHead {
  content(): Promise<InterfaceReading>;
  changes(first: number): Promise<InterfaceChange[]>;
}

/** What tools' servers offer. */
export interface InterfaceService {
  /** For one operation: what it asks for is read together. */
  forOperation(caller: Caller): OperationInterfaces;
}

export interface OperationInterfaces {
  /** What this deployment's server offered last, by which a proxy answers for it; null where it is not this any more. */
  offerOf(
    deployment: Pick<Deployment, "toolId" | "digest" | "offerHash">,
    hash: string,
  ): Promise<InterfaceReading | null>;
  /** Of what runs by this digest. */
  ofDigest(key: InterfaceKey): Promise<InterfaceShape | null>;
  /** Of the tool, as the one of these that runs in production, or else in staging, shows it; with changes of all its digests. */
  ofTool(
    toolId: string,
    inPlace: readonly Pick<Deployment, "environment" | "digest">[],
  ): Promise<InterfaceShape | null>;
}

const MAX_CHANGES = 100;
const BY_RANK: readonly Environment[] = ["PRODUCTION", "STAGING"];
/** Of what was removed since its hash was read. */
const NOTHING: InterfaceReading = {
  instructions: null,
  tools: null,
  prompts: null,
  resources: null,
  resourceTemplates: null,
  problems: ["It is not kept any more."],
};

export function createInterfaceService({ store }: { store: InterfaceStore }): InterfaceService {
  return {
    forOperation(caller) {
      const heads = createLoader((keys: readonly string[]) => store.heads(keys.map(keyOf)));
      const changes = createLoaderByArguments((toolIds, { digest, first }: { digest: string | null; first: number }) =>
        store.changesOf(toolIds, digest, first),
      );

      async function find(key: InterfaceKey, ofDigest: string | null): Promise<InterfaceShape | null> {
        caller.require("tool:read");
        if (!caller.reaches(key.toolId)) return null;
        const head = await heads.load(textOf(key));
        if (head === null) return null;
        let content: Promise<InterfaceReading> | null = null;
        return {
          ...head,
          content: () => (content ??= store.find(key).then((stored) => stored?.content ?? NOTHING)),
          async changes(first) {
            if (first < 1 || first > MAX_CHANGES)
              throw badInput([{ path: "first", message: `must be from 1 to ${MAX_CHANGES}` }]);
            return changes.load(key.toolId, { digest: ofDigest, first });
          },
        };
      }

      return {
        async offerOf({ toolId, digest, offerHash: own }, hash) {
          const stored = own === hash ? await store.find({ toolId, digest }) : null;
          // Another deployment of the same digest may have shown something else since.
          return stored && offerHash(stored) === hash ? stored.content : null;
        },
        ofDigest: (key) => find(key, key.digest),
        async ofTool(toolId, inPlace) {
          const [shown] = BY_RANK.flatMap((rank) => inPlace.filter(({ environment }) => environment === rank));
          return shown === undefined ? null : find({ toolId, digest: shown.digest }, null);
        },
      };
    },
  };
}

function textOf({ toolId, digest }: InterfaceKey): string {
  return JSON.stringify([toolId, digest]);
}

function keyOf(text: string): InterfaceKey {
  const [toolId, digest] = JSON.parse(text) as [string, string]; // as `textOf` made it
  return { toolId, digest };
}
