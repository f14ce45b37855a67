import {
  ToolyardError,
  badInput,
  createServiceCaller,
  newId,
  notFound,
  parseInput,
  type Caller,
  type GraphClient,
  type Logger,
  type RequestContext,
  type ToolShares,
} from "@toolyard/service-kit";
import type { SchemaValidator } from "@toolyard/json-schema";
import {
  mapSecrets,
  mapVariables,
  variablesOf,
  withEscapes,
  type DraftVariable,
  type RemoteLaunch,
  type StoredLaunch,
} from "@toolyard/launch";
import { currentText, placeholderKeys, writeOnlyInArguments } from "@toolyard/launch/placeholders.ts";
import { createWriteOnly } from "@toolyard/launch/write-only.ts";
import { freeSlug, slugFromName } from "./slug.ts";
import { requireTool } from "./tool-reference.ts";
import { bakedLaunch } from "./templates/baked-launch.ts";
import type { Template } from "./templates/template.ts";
import { createToolInput, fromTemplateInput, updateToolInput } from "./tool-input.ts";
import type { Tool, ToolChangeKind, ToolStore, ToolVersion, VersionSource } from "./tool-store.ts";
import { MANIFEST_NAME, type Manifest } from "./github/manifest.ts";
import { runsTheSame, sameJson, summarizeChange, type VersionContent, type VersionSecrets } from "./version-content.ts";

/** Each failed attempt means that somebody else's change went through; this many in a row is not chance. */
const MAX_ATTEMPTS = 100;

const STOP_DEPLOYMENTS = "mutation StopDeployments($toolId: ID!) { stopDeploymentsOfTool(toolId: $toolId) }";
const self: Caller = createServiceCaller("tools", ["internal:stop-deployments"]);

/** One entry of the tools' event log, as the graph shows it. */
export interface ToolChange {
  sequence: string;
  at: number;
  kind: ToolChangeKind;
  toolId: string;
  /** As it is now. */
  tool: () => Promise<Tool | null>;
}

/**
 * Changes of tools, which callers name by id or slug. All take `tool:write`, on a tool that exists by its author, those it is shared with by
 * EDIT, or an administrator; to delete or restore one takes `tool:share`, which EDIT does not give.
 * @throws ToolyardError of each: UNAUTHENTICATED, FORBIDDEN, BAD_USER_INPUT with problems, NOT_FOUND; CONFLICT where said.
 */
export interface ToolService {
  /** CONFLICT when the slug asked for is taken; one made from the name gets a number instead, and the requester is warned of it. */
  create(requester: Requester, input: unknown): Promise<Tool>;
  /**
   * A tool with the template's content; with a configuration, one that needs none when it is deployed. Where `reuse` is asked for, the caller's
   * own tool of this name that was made of the template, if there is one: with the template's content of today, unless it was changed since.
   */
  createFromTemplate(requester: Requester, template: Template, input: unknown): Promise<Tool>;
  /** CONFLICT when `expectedVersion` is not the current one, or the tool is deleted. A change without effect makes no version. */
  update(caller: Caller, reference: string, input: unknown): Promise<Tool>;
  /** A new version with the content of version `number`; its secrets too. CONFLICT when the tool is deleted. */
  revert(caller: Caller, reference: string, number: number): Promise<Tool>;
  /**
   * Asks its deployments to stop. Idempotent. UPSTREAM_UNAVAILABLE when they cannot be asked; then nothing is deleted. CONFLICT when
   * `expectedVersion` is not the current one.
   */
  delete(
    caller: Caller,
    reference: string,
    options: { requestId: string; expectedVersion: number | null },
  ): Promise<Tool>;
  /** Idempotent. */
  restore(caller: Caller, reference: string): Promise<Tool>;
  /** The tool, where the caller may change it. `action` completes "You may not …". */
  changeable(caller: Caller, reference: string, action: string): Promise<Tool>;
  /**
   * Brings the tool in line with a repository's manifest, by a new version where that changes something. Where the last manifest is the same, the
   * tool stays as it is. Warnings say what was changed by hand since. Answers the
   * tool, and whether it has a new version.
   */
  adopt(
    caller: Caller,
    toolId: string,
    read: {
      manifest: Manifest;
      commitSha: string;
      /** Of the last manifest: the version that was in line with it, and whether it is this one. */
      last: { isSame: boolean; versionId: string } | null;
    },
  ): Promise<{ tool: Tool; isNew: boolean; warnings: string[] }>;
}

/** The caller, and how to tell them something besides the data. */
type Requester = Pick<RequestContext, "caller" | "warn">;

export function createToolService(options: {
  store: ToolStore;
  shares: ToolShares;
  secrets: VersionSecrets;
  /** Of configurations. */
  schemas: Pick<SchemaValidator, "checkSchema" | "checkValue">;
  graph: GraphClient;
  logger: Pick<Logger, "info">;
  now: () => number;
}): ToolService {
  const { store, shares, secrets, schemas, graph, logger, now } = options;

  function note(tool: Pick<Tool, "id" | "slug" | "currentNumber">, { subject }: Caller, what: string): void {
    logger.info({ tool_id: tool.id, slug: tool.slug, version: tool.currentNumber, by: subject }, what);
  }

  const checkConfigSchema = (schema: unknown, { subject }: Caller) =>
    schemas.checkSchema(schema, "input.configSchema", subject);

  /** The tool, which the caller may change; past any cache. */
  const changeable = (caller: Caller, reference: string, action: string) =>
    requireTool({ store, shares }, caller, "tool:write", reference, action);
  const deletable = (caller: Caller, reference: string, action: string) =>
    requireTool({ store, shares }, caller, "tool:share", reference, action);

  async function versionWithId(id: string): Promise<ToolVersion> {
    const [version] = await store.findVersionsByIds([id]);
    if (!version) throw new Error(`The version ${id} is pointed to and is not there.`);
    return version;
  }

  /**
   * Makes a version of what `change` makes of the current content; again from the start when another change came first.
   * `change` answers null for no change.
   */
  async function commit(
    caller: Caller,
    reference: string,
    action: string,
    change: (tool: Tool, current: VersionContent, version: ToolVersion) => Promise<Change>,
  ): Promise<Tool> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const tool = await changeable(caller, reference, action);
      if (tool.deletedAt !== null) {
        throw new ToolyardError("CONFLICT", `The tool ${JSON.stringify(tool.slug)} is deleted. Restore it first.`);
      }
      const current = await versionWithId(tool.currentVersionId);
      const before = contentOf(current);
      const { content, changeSummary, source, commitSha = null } = await change(tool, before, current);
      if (sameJson(before, content)) return tool;
      const version = makeVersion({
        toolId: tool.id,
        number: current.number + 1,
        content,
        // The key of the HMAC may have been rotated since: a launch that runs the same keeps its digest, so that nothing restarts.
        digest: runsTheSame(before, content) ? current.digest : secrets.digest(content),
        changeSummary: changeSummary ?? summarizeChange(before, content),
        source,
        commitSha,
        createdById: caller.userId,
      });
      if ((await store.commit(version, current.id)) !== "committed") continue;
      const changed = toolAfter(tool, version);
      note(changed, caller, "a tool has a new version");
      return changed;
    }
    throw new ToolyardError("CONFLICT", "Too many changes of this tool run at once. Try again.");
  }

  function contentOf({ id, name, description, tags, launch, configSchema }: ToolVersion): VersionContent {
    return { name, description, tags, launch: secrets.open(launch, id), configSchema };
  }

  function makeVersion(parts: {
    toolId: string;
    number: number;
    content: VersionContent;
    digest: string;
    changeSummary: string;
    source: VersionSource;
    commitSha?: string | null;
    createdById: string | null;
  }): ToolVersion {
    const { content, commitSha = null, ...rest } = parts;
    const id = newId();
    return { ...rest, ...content, id, launch: secrets.seal(content.launch, id), commitSha, createdAt: now() };
  }

  async function setDeleted(
    caller: Caller,
    reference: string,
    deleted: boolean,
    expectedVersion: number | null = null,
  ): Promise<Tool> {
    const action = deleted ? "delete this tool" : "restore this tool";
    const tool = await deletable(caller, reference, action);
    refuseOtherVersion(tool, expectedVersion);
    const at = expectedVersion === null ? undefined : tool.currentVersionId;
    await store.setDeleted(tool.id, deleted, now(), at);
    const changed = await deletable(caller, tool.id, action);
    // A change that came between the two.
    refuseOtherVersion(changed, expectedVersion);
    return changed;
  }

  /** The caller's tool that was made of the template, and is configured when it is deployed, as the template's tools are. */
  async function ownOfTemplate({ userId }: Caller, templateId: string, name: string): Promise<Tool | null> {
    const tool = userId === null ? null : await store.ofTemplate(templateId, userId, name);
    if (!tool) return null;
    return (await versionWithId(tool.currentVersionId)).configSchema === null ? null : tool;
  }

  /** A new tool. CONFLICT when the slug asked for is taken. */
  async function register(
    { caller, warn }: Requester,
    content: VersionContent,
    {
      slug,
      ...origin
    }: { slug: string | null; templateId: string | null; changeSummary: string; source: VersionSource },
  ): Promise<Tool> {
    const { name, description, tags } = content;
    const { templateId, changeSummary, source } = origin;
    const toolId = newId();
    const version = makeVersion({
      toolId,
      number: 1,
      content,
      digest: secrets.digest(content),
      changeSummary,
      source,
      createdById: caller.userId,
    });
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const tool: Tool = {
        id: toolId,
        slug: slug ?? (await freeSlug(slugFromName(name), store.takenOf)),
        name,
        description,
        tags,
        authorId: caller.userId,
        templateId,
        currentVersionId: version.id,
        currentNumber: version.number,
        createdAt: version.createdAt,
        updatedAt: version.createdAt,
        deletedAt: null,
      };
      if ((await store.insert(tool, version)) === "inserted") {
        const wanted = slug ?? slugFromName(name);
        if (tool.slug !== wanted) warn?.(takenSlug(wanted, tool.slug));
        note(tool, caller, "a tool was registered");
        return tool;
      }
      if (slug !== null) throw slugTaken(slug);
    }
    throw new ToolyardError("CONFLICT", "Too many tools of this name are being created at once. Give a slug.");
  }

  return {
    async create(requester, input) {
      const { caller } = requester;
      requireRegistering(caller);
      const { slug, ...parsed } = parseInput(createToolInput, input);
      const content: VersionContent = {
        ...parsed,
        launch: withSecrets(parsed.launch, null),
        configSchema: parsed.configSchema === null ? null : await checkConfigSchema(parsed.configSchema, caller),
      };
      refuseSecretArguments(content);
      return register(requester, content, { slug, templateId: null, changeSummary: "Created", source: "MANUAL" });
    },

    async createFromTemplate(requester, template, input) {
      const { caller } = requester;
      requireRegistering(caller);
      const { slug, configuration, reuse, ...given } = parseInput(fromTemplateInput, input);
      const { id: templateId, description } = template;
      const schema = await checkConfigSchema(template.configSchema, caller);
      const whole: VersionContent = {
        name: given.name ?? template.name,
        description,
        tags: [],
        launch: template.launch,
        configSchema: schema,
      };
      refuseSecretArguments(whole);
      const existing = reuse ? await ownOfTemplate(caller, templateId, whole.name) : null;
      if (existing)
        return commit(caller, existing.id, "change this tool", async (_tool, current, { source }) => ({
          content: source === "TEMPLATE" ? whole : current,
          changeSummary: "Brought up to the template",
          source: "TEMPLATE",
        }));
      const content =
        configuration == null
          ? whole
          : {
              ...whole,
              launch: bakedLaunch(
                template.launch,
                schema,
                await schemas.checkValue(schema, configuration, "input.configuration", caller.subject),
              ),
              configSchema: null,
            };
      const changeSummary = `Made of the template ${templateId}`;
      return register(requester, content, { slug, templateId, changeSummary, source: "TEMPLATE" });
    },

    async update(caller, reference, input) {
      caller.require("tool:write");
      const parsed = parseInput(updateToolInput, input);
      const configSchema = parsed.configSchema == null ? null : await checkConfigSchema(parsed.configSchema, caller);
      return commit(caller, reference, "change this tool", async (tool, current) => {
        refuseOtherVersion(tool, parsed.expectedVersion);
        const content: VersionContent = {
          name: parsed.name ?? current.name,
          description: parsed.description ?? current.description,
          tags: parsed.tags ?? current.tags,
          launch: parsed.launch ? withSecrets(parsed.launch, current.launch) : current.launch,
          configSchema: parsed.configSchema === undefined ? current.configSchema : configSchema,
        };
        refuseSecretArguments(content);
        return { content, changeSummary: parsed.changeSummary ?? null, source: "MANUAL" };
      });
    },

    revert: (caller, reference, number) =>
      commit(caller, reference, "revert this tool", async (tool) => {
        const version = await store.findVersion(tool.id, number);
        if (!version)
          throw notFound(`version of the tool ${JSON.stringify(tool.slug)} with the number`, String(number));
        return { content: contentOf(version), changeSummary: `Reverted to version ${number}`, source: "REVERT" };
      }),

    async delete(caller, reference, { requestId, expectedVersion }) {
      const { id, deletedAt } = await deletable(caller, reference, "delete this tool");
      // First it cannot be deployed any more, then its deployments are stopped.
      const tool = await setDeleted(caller, id, true, expectedVersion);
      try {
        await graph.query({ query: STOP_DEPLOYMENTS, variables: { toolId: id }, as: self, requestId });
      } catch (cause) {
        if (deletedAt === null) await store.setDeleted(id, false, now());
        throw new ToolyardError(
          "UPSTREAM_UNAVAILABLE",
          "The tool was not deleted: its deployments could not be stopped, since the deployments service does not answer. Try again.",
          { cause },
        );
      }
      note(tool, caller, "a tool was deleted");
      return tool;
    },
    async restore(caller, reference) {
      const tool = await setDeleted(caller, reference, false);
      note(tool, caller, "a tool was restored");
      return tool;
    },
    changeable,

    async adopt(caller, toolId, { manifest, commitSha, last }) {
      const configSchema =
        manifest.configSchema == null ? null : await checkConfigSchema(manifest.configSchema, caller);
      const warnings: string[] = [];
      let before = 0;
      const tool = await commit(caller, toolId, "sync this tool", async ({ currentNumber }, current) => {
        const synced = last && contentOf(await versionWithId(last.versionId));
        const byHand = synced && changeOfGiven(manifest, synced, current);
        before = currentNumber;
        warnings.splice(0);
        if (byHand !== null) warnings.push(changedByHand(byHand, currentNumber, last?.isSame === true));
        const source = "GITHUB";
        if (last?.isSame === true) return { content: current, changeSummary: null, source };
        const content: VersionContent = {
          name: manifest.name ?? current.name,
          description: manifest.description ?? current.description,
          tags: current.tags,
          launch: manifest.launch ? withSecrets(manifest.launch, current.launch) : current.launch,
          configSchema: manifest.configSchema === undefined ? current.configSchema : configSchema,
        };
        refuseSecretArguments(content);
        const changeSummary = `${summarizeChange(current, content).slice(0, 480)} (${commitSha.slice(0, 7)})`;
        return { content, changeSummary, source, commitSha };
      }).catch((error: unknown) => {
        throw ofManifest(error);
      });
      return { tool, isNew: tool.currentNumber > before, warnings };
    },
  };
}

/** A new tool is nothing that a key can be limited to. */
function requireRegistering(caller: Caller): void {
  caller.require("tool:write", { ownerId: caller.userId, toolId: null }, "register tools");
}

/** What differs in the fields that a manifest gives, but for the values of secrets, which it cannot; null for nothing. */
function changeOfGiven(manifest: Manifest, one: VersionContent, other: VersionContent): string | null {
  const [before, after] = [one, other].map((content): VersionContent => ({
    name: manifest.name == null ? "" : content.name,
    description: manifest.description == null ? "" : content.description,
    tags: [],
    launch: mapSecrets(manifest.launch ? content.launch : other.launch, () => ""),
    configSchema: manifest.configSchema === undefined ? null : content.configSchema,
  }));
  return before === undefined || after === undefined || sameJson(before, after) ? null : summarizeChange(before, after);
}

/** A warning of what a sync left or replaced. `change` as in "Changed name". */
function changedByHand(change: string, version: number, stays: boolean): string {
  return stays
    ? `${change} by hand, up to version ${version}: that stays so until ${MANIFEST_NAME} changes.`
    : `${MANIFEST_NAME} changed, so it replaced what was changed by hand up to version ${version}, which revertTool brings back.`;
}

/** An error about the input of `updateTool`, in terms of the file. */
function ofManifest(error: unknown): unknown {
  if (!(error instanceof ToolyardError) || error.code !== "BAD_USER_INPUT") return error;
  const problems = (error.extensions["problems"] ?? []) as { path: string; message: string }[]; // as badInput makes them
  return badInput(problems.map(({ path, message }) => ({ path: path.replace(/^input/, MANIFEST_NAME), message })));
}

interface Change {
  content: VersionContent;
  /** Null: made from the changes. */
  changeSummary: string | null;
  source: VersionSource;
  commitSha?: string;
}

/** @throws ToolyardError CONFLICT */
function refuseOtherVersion({ currentNumber }: Tool, expected: number | null | undefined): void {
  if (expected == null || expected === currentNumber) return;
  throw new ToolyardError(
    "CONFLICT",
    `Another change came first: the tool is at version ${currentNumber}, not ${expected}. Read it again.`,
    { extensions: { currentVersion: currentNumber } },
  );
}

function toolAfter(tool: Tool, version: ToolVersion): Tool {
  const { name, description, tags, createdAt } = version;
  return {
    ...tool,
    name,
    description,
    tags,
    currentVersionId: version.id,
    currentNumber: version.number,
    updatedAt: createdAt,
  };
}

function takenSlug(wanted: string, given: string): string {
  const [before, now] = [JSON.stringify(wanted), JSON.stringify(given)];
  return `There is a tool ${before} already, so this one is ${now}. To change the one that was there, use updateTool(id: ${before}, …).`;
}

function slugTaken(slug: string): ToolyardError {
  const message = `the slug ${JSON.stringify(slug)} is taken, perhaps by a deleted tool: choose another`;
  return new ToolyardError("CONFLICT", `input.slug: ${message}`, { problems: [{ path: "input.slug", message }] });
}

/** @throws ToolyardError BAD_USER_INPUT for arguments that would hold writeOnly values. */
function refuseSecretArguments({ launch, configSchema }: VersionContent): void {
  if (launch.kind === "remote") return;
  const { hides } = createWriteOnly(configSchema);
  const problems = launch.args.flatMap((arg, index) =>
    placeholderKeys(currentText(launch, arg))
      .filter(hides)
      .map((key) => ({ path: `input.launch.${launch.kind}.args.${index}`, message: writeOnlyInArguments(key) })),
  );
  if (problems.length > 0) throw badInput(problems);
}

/**
 * The launch asked for, where a secret without a value takes the value that a secret of this name had before.
 * @throws ToolyardError BAD_USER_INPUT for those that had none.
 */
function withSecrets(draft: StoredLaunch<DraftVariable>, before: StoredLaunch | null): StoredLaunch {
  const old = new Map(
    (before ? variablesOf(before) : [])
      .filter((variable) => variable.secret)
      .map(({ name, value }) => [name, currentText(before ?? {}, value)]),
  );
  const problems: { path: string; message: string }[] = [];
  const launch = mapVariables(draft, ({ name, value, secret }, path) => {
    const known = value ?? old.get(name);
    if (known === undefined) {
      const message = `give a value: no secret ${JSON.stringify(name)} is stored whose value could be kept`;
      problems.push({ path: `input.launch.${path}.value`, message });
    }
    return { name, value: known ?? "", secret };
  });
  const kept = launch.kind === "remote" && launch.urlSecret ? withSecretUrl(launch, before) : launch;
  if (kept === null)
    problems.push({
      path: "input.launch.remote.url",
      message: "give the URL: no secret URL is stored that could be kept",
    });
  if (kept === null || problems.length > 0) throw badInput(problems);
  return withEscapes(kept);
}

/** With the secret URL it had, where none is given or the one that readers are shown; null where it had none. */
function withSecretUrl(launch: RemoteLaunch, before: StoredLaunch | null): RemoteLaunch | null {
  const old = before?.kind === "remote" && before.secretUrl != null ? before : null;
  const given = launch.secretUrl !== null && launch.secretUrl !== old?.url;
  if (given) return launch;
  return old && { ...launch, url: old.url, secretUrl: old.secretUrl };
}
