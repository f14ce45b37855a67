import { createPathFilter, openSnapshot, type GitHubClient, type RepositorySnapshot } from "@toolyard/github";
import type { SchemaValidator } from "@toolyard/json-schema";
import { ToolyardError, isPublic, preconditionFailed, type Caller, type Logger } from "@toolyard/service-kit";
import { setTimeout as delay } from "node:timers/promises";
import type { FileProblem } from "../../yaml-text.ts";
import type { Push } from "../../github/push-event.ts";
import { TEMPLATE_ENDING, fileProblemsOf, readTemplate } from "../template-file.ts";
import { hasWords, type Template, type TemplateCatalogue } from "../template.ts";
import type {
  RepositoryTemplateFile,
  TemplatePlace,
  TemplateRepositoryState,
  TemplateRepositoryStore,
} from "./template-repository.ts";

/** How often GitHub is asked where the repository stands, which is one small query. */
const CHECK_MS = 300_000;
const MAX_FILES = 500;
const MAX_FILE_BYTES = 65_536;

/** How a repository of templates stands, for administrators. */
export interface ShownTemplateRepository extends Omit<TemplateRepositoryState, "checkedAt"> {
  repository: string;
  folder: string;
  ref: string | null;
  checkedAt: number | null;
  problems: (FileProblem & { file: string })[];
}

/** The templates of the operator's repository, as it last could be read. */
export interface RepositoryTemplates extends TemplateCatalogue {
  /** Follows the repository until it is aborted. */
  follow(signal: AbortSignal): Promise<void>;
  /** Looks at once where a push may have changed it. */
  pushed(push: Push): void;
  /** With `metrics:read`. */
  show(caller: Caller): Promise<ShownTemplateRepository>;
}

export function createRepositoryTemplates(options: {
  place: TemplatePlace;
  store: TemplateRepositoryStore;
  github: GitHubClient;
  schemas: Pick<SchemaValidator, "checkSchema">;
  logger: Pick<Logger, "info" | "warn" | "error">;
  now: () => number;
}): RepositoryTemplates {
  const { place, store, schemas, logger, now } = options;
  const { owner, name, folder, ref } = place;
  const repository = `${owner}/${name}`;
  const key = [repository.toLowerCase(), folder, ref ?? ""].join("\n");
  // The operator named it, whatever users may connect.
  const github = options.github.withRepositories(null);
  let wake = Promise.withResolvers<void>();
  let read: { syncedAt: number | null; templates: ReadonlyMap<string, Template> } | null = null;

  async function all(): Promise<ReadonlyMap<string, Template>> {
    const syncedAt = (await store.state(key))?.syncedAt ?? null;
    if (read?.syncedAt !== syncedAt) {
      const templates = (await store.files(key)).flatMap(({ template }) => template ?? []);
      read = { syncedAt, templates: new Map(templates.map((template) => [template.id, template])) };
    }
    return read.templates;
  }

  async function readFile(file: string, text: string): Promise<{ template: Template } | { problems: FileProblem[] }> {
    const found = readTemplate(file, text);
    if ("problems" in found) return found;
    try {
      await schemas.checkSchema(found.template.configSchema, "configSchema", repository);
    } catch (error) {
      const line = Math.max(1, text.split("\n").findIndex((each) => each.startsWith("configSchema")) + 1);
      return { problems: fileProblemsOf(error).map((problem) => ({ ...problem, line })) };
    }
    return { template: { ...found.template, source: "REPOSITORY" } };
  }

  async function filesAt(
    snapshot: RepositorySnapshot,
    before: readonly RepositoryTemplateFile[],
  ): Promise<RepositoryTemplateFile[]> {
    const listed = await snapshot.list(folder, createPathFilter([`*${TEMPLATE_ENDING}`]), MAX_FILES);
    // Rather a mistake, such as a folder that was renamed, than meant so.
    if (listed.length === 0)
      throw new ToolyardError(
        "NOT_FOUND",
        `The folder ${JSON.stringify(folder)} of ${repository} has no *${TEMPLATE_ENDING} at ${snapshot.commitSha.slice(0, 7)}, so its templates stay as they were. Correct TEMPLATE_REPOSITORY or the repository.`,
      );
    const known = new Map(before.map((each) => [each.file, each]));
    const fileOf = (path: string) => path.slice(folder === "" ? 0 : folder.length + 1);
    const isKnown = (path: string, oid: string) => {
      const one = known.get(fileOf(path));
      return one?.oid === oid && one.problems.length === 0;
    };
    const files = new Map(listed.map(({ path }) => [fileOf(path), known.get(fileOf(path))]));
    const keep = (file: string, oid: string, found: { template: Template } | { problems: FileProblem[] }) => {
      if ("template" in found) return void files.set(file, { file, oid, template: found.template, problems: [] });
      const template = known.get(file)?.template ?? null;
      files.set(file, { file, oid, template, problems: found.problems });
      const fate = template === null ? "left out" : "kept as it was before";
      for (const { path, message, line } of found.problems)
        logger.error(
          { repository, commit: snapshot.commitSha, file, line, at: path, problem: message },
          `a template is ${fate}: its file is wrong`,
        );
    };
    const problem = (message: string) => ({ problems: [{ path: "", message, line: 1 }] });
    const wanted = listed.filter(({ path, oid, size }) => {
      if (isKnown(path, oid)) return false;
      if (size > MAX_FILE_BYTES) keep(fileOf(path), oid, problem(`must have at most ${MAX_FILE_BYTES} bytes`));
      return size <= MAX_FILE_BYTES;
    });
    for await (const { file, text } of snapshot.read(wanted)) {
      const at = fileOf(file.path);
      keep(at, file.oid, text === null ? problem("is no text") : await readFile(at, text));
    }
    return [...files.values()].flatMap((file) => file ?? []);
  }

  /** @returns whether the state is that of the repository now */
  async function check(isFirst: boolean, signal: AbortSignal): Promise<boolean> {
    const snapshot = await openSnapshot(github, { owner, name, revision: ref ?? "HEAD" }, signal);
    const isNow = `${snapshot.repository.owner}/${snapshot.repository.name}`;
    if (isNow.toLowerCase() !== repository.toLowerCase())
      throw preconditionFailed(
        "TEMPLATE_REPOSITORY",
        `The repository ${repository} is ${isNow} now. Its templates stay as they were: whoever may change ${isNow} would decide what runs here. Where that is meant, set TEMPLATE_REPOSITORY to the new name.`,
      );
    const { commitSha } = snapshot;
    const before = (await store.state(key))?.commitSha ?? null;
    const files = before === null ? [] : await store.files(key);
    // Another version of Toolyard may take what an earlier one did not.
    if (before === commitSha && !(isFirst && files.some(({ problems }) => problems.length > 0))) {
      await store.checked(key, now(), null);
      return true;
    }
    const read = await filesAt(snapshot, files);
    if (!(await store.replace(key, before, { commitSha, files: read, at: now() }))) return false;
    const templates = read.filter(({ template }) => template !== null).length;
    logger.info({ repository, commit: commitSha, templates }, "the templates of a repository were read");
    return true;
  }

  return {
    async findByIds(ids) {
      const templates = await all();
      return ids.flatMap((id) => templates.get(id) ?? []);
    },
    async idsOf(words) {
      return [...(await all()).values()].filter((template) => hasWords(template, words)).map(({ id }) => id);
    },

    async follow(signal) {
      let lastError: string | null = null;
      for (let isFirst = true; !signal.aborted;) {
        wake = Promise.withResolvers();
        let waitMs = CHECK_MS;
        try {
          if (!(await check(isFirst, signal))) continue;
          [isFirst, lastError] = [false, null];
        } catch (error) {
          if (signal.aborted) return;
          const message = isPublic(error) ? error.message : "Something went wrong in Toolyard. Its log has it.";
          if (message !== lastError)
            logger.warn({ repository, err: error }, "a repository's templates stay as they were: it could not be read");
          lastError = message;
          await store.checked(key, now(), message).catch((reason: unknown) => {
            logger.error({ repository, err: reason }, "how a repository of templates stands could not be noted");
          });
          const asked = error instanceof ToolyardError ? Number(error.extensions.retryAfterSeconds ?? 0) : 0;
          waitMs = Math.max(CHECK_MS, asked * 1_000);
        }
        const timer = new AbortController();
        const ends = AbortSignal.any([signal, timer.signal]);
        await Promise.race([delay(waitMs, undefined, { signal: ends, ref: false }).catch(() => {}), wake.promise]);
        timer.abort();
      }
    },

    pushed(push) {
      const isHere = `${push.owner}/${push.repository}`.toLowerCase() === repository.toLowerCase();
      if (isHere && (ref === null || push.branch === ref) && push.mayTouch(folder)) wake.resolve();
    },

    async show(caller) {
      caller.require("metrics:read", undefined, "see how the repository of templates stands");
      const nothing = { commitSha: null, syncedAt: null, checkedAt: null, lastError: null };
      const [state, files] = [await store.state(key), await store.files(key)];
      const problems = files.flatMap((each) => each.problems.map((problem) => ({ ...problem, file: each.file })));
      return { repository, folder, ref, ...(state ?? nothing), problems };
    },
  };
}
