import type { EventLog } from "@toolyard/events";
import { newId, type Page } from "@toolyard/service-kit";
import { everyPage, ODD_JSON, ODD_TEXTS, testMethods } from "@toolyard/testing/port-contract.ts";
import { DEFAULT_OPTIONS, type StoredLaunch } from "@toolyard/launch";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Tool, ToolEventPayload, ToolFilter, ToolShare, ToolStore, ToolVersion } from "./tool-store.ts";

export interface OpenToolStore {
  /** The same store, as two processes have it open. */
  stores: readonly [ToolStore, ToolStore];
  /** Its events. */
  events: Pick<EventLog<ToolEventPayload>, "readAfter">;
  close(): Promise<void>;
}

const NOW = 1_700_000_000_123;
const LAUNCH = {
  kind: "stdio",
  command: "server",
  args: [],
  env: [],
  workingDirectory: null,
  sessions: "ISOLATED",
  options: { ...DEFAULT_OPTIONS, resources: null },
} satisfies StoredLaunch;
const FIRST_PAGE: Page = { limit: 100, afterId: null, offset: 0 };
const EVERYTHING: ToolFilter = { words: [], tag: null, includeDeleted: false };

interface Registered {
  tool: Tool;
  version: ToolVersion;
}

/** A tool and its first version, with the same content. */
function toolOf(more: Partial<Tool> = {}): Registered {
  const [id, versionId] = [newId(), newId()];
  const { name = "Weather", description = "", tags = [] } = more;
  const tool: Tool = {
    id,
    slug: `t-${id}`,
    name,
    description,
    tags,
    authorId: null,
    templateId: null,
    currentVersionId: versionId,
    currentNumber: 1,
    createdAt: NOW,
    updatedAt: NOW,
    deletedAt: null,
    ...more,
  };
  const version: ToolVersion = {
    id: versionId,
    toolId: id,
    number: 1,
    name,
    description,
    tags,
    launch: LAUNCH,
    configSchema: null,
    digest: "d",
    changeSummary: null,
    source: "MANUAL",
    commitSha: null,
    createdById: null,
    createdAt: NOW,
  };
  return { tool, version };
}

function nextOf(version: ToolVersion, more: Partial<ToolVersion> = {}): ToolVersion {
  return { ...version, id: newId(), number: version.number + 1, createdAt: version.createdAt + 1, ...more };
}

function shareOf(toolId: string, more: Partial<ToolShare> = {}): ToolShare {
  return { toolId, userId: "user", access: "USE", sharedById: null, createdAt: NOW, updatedAt: NOW, ...more };
}

const idsOf = (rows: readonly { id: string }[]) => rows.map(({ id }) => id);
const byId = (one: { id: string }, other: { id: string }) => (one.id < other.id ? -1 : 1);

/** What every adapter of ToolStore must show. */
export function toolStoreContract(name: string, open: () => Promise<OpenToolStore>): void {
  describe(`ToolStore on ${name}`, () => {
    let store: ToolStore;
    let stores: OpenToolStore["stores"];
    let events: OpenToolStore["events"];
    let close: () => Promise<void>;
    beforeAll(async () => {
      ({ stores, events, close } = await open());
      [store] = stores;
    });
    afterAll(() => close());

    async function insert(more: Partial<Tool> = {}): Promise<Registered> {
      const made = toolOf(more);
      expect(await store.insert(made.tool, made.version)).toBe("inserted");
      return made;
    }
    const find = async (id: string) => (await store.findByIds([id]))[0] ?? null;
    const kindsOf = async (toolId: string) => (await events.readAfter(0, 1_000, toolId)).map(({ kind }) => kind);
    const listed = (filter: Partial<ToolFilter>) => store.page({ ...EVERYTHING, ...filter }, FIRST_PAGE).rows();

    testMethods<ToolStore>({
      removeStrayContents() {
        test("leaves all that there is, whoever made it, after changes that came to nothing", async () => {
          const { tool, version } = await insert();
          const other = toolOf({ slug: tool.slug });
          expect(await stores[1].insert(other.tool, other.version)).toBe("slug-taken");
          const next = nextOf(version);
          expect(await stores[1].commit(next, version.id)).toBe("committed");
          expect(await store.commit(nextOf(version), version.id)).toBe("superseded");
          for (const each of stores) await each.removeStrayContents(Number.MAX_SAFE_INTEGER);
          for (const each of stores) expect(await each.findVersionsByIds([next.id, version.id])).toHaveLength(2);
          expect(await store.versionPages([tool.id], FIRST_PAGE)).toEqual([[next, version]]);
        });
      },

      insert() {
        test("keeps a tool and its first version as they are, and tells of it", async () => {
          const launch: StoredLaunch = {
            ...LAUNCH,
            command: ODD_TEXTS.join("\n"),
            args: [...ODD_TEXTS, ""],
            env: [{ name: "LARGE", value: "\u{1f600}".repeat(50_000), secret: false }],
          };
          const { tool, version } = toolOf({
            name: "\u{1f600} %_\\' ",
            description: "\u6f22\u{1f600}".repeat(30_000),
            tags: [...ODD_TEXTS],
            authorId: "author",
            templateId: "template",
            updatedAt: 253_402_300_799_999,
          });
          const whole: ToolVersion = {
            ...version,
            launch,
            configSchema: ODD_JSON,
            changeSummary: "\u6f22".repeat(500),
            source: "GITHUB",
            commitSha: "c".repeat(40),
            createdById: "user",
          };
          expect(await store.insert(tool, whole)).toBe("inserted");
          expect(await find(tool.id)).toEqual(tool);
          const found = await store.findVersion(tool.id, 1);
          expect(found).toEqual(whole);
          // With the order of the keys, on which what is shown depends.
          expect(JSON.stringify(found)).toBe(JSON.stringify({ ...found, launch, configSchema: ODD_JSON }));
          expect(await events.readAfter(0, 10, tool.id)).toEqual([
            { sequence: expect.any(Number), kind: "CREATED", subjectId: tool.id, payload: {}, at: tool.createdAt },
          ]);
        });

        test.each([null, {}, [], true, false, "", 0])("keeps %j as the schema of a configuration", async (schema) => {
          const { tool, version } = toolOf();
          await store.insert(tool, { ...version, configSchema: schema });
          expect((await store.findVersion(tool.id, 1))?.configSchema).toEqual(schema);
        });

        test("refuses a slug that a tool has, a deleted one, too, and writes nothing then", async () => {
          const { tool: first } = await insert({ name: "Xylophone" });
          await store.setDeleted(first.id, true, NOW);
          const { tool, version } = toolOf({ slug: first.slug, tags: ["refused"], name: "Refused" });
          expect(await store.insert(tool, version)).toBe("slug-taken");
          expect(await find(tool.id)).toBeNull();
          expect(await store.findVersionsByIds([version.id])).toEqual([]);
          expect(await listed({ tag: "refused", includeDeleted: true })).toEqual([]);
          expect(await listed({ words: ["refused"], includeDeleted: true })).toEqual([]);
          expect(await kindsOf(tool.id)).toEqual([]);
        });

        test("gives a slug to one of those who take it at once, in any process", async () => {
          const slug = `raced-${newId()}`;
          const answers = await Promise.all(
            [0, 1, 2, 3, 4, 5].map((n) => {
              const { tool, version } = toolOf({ slug });
              return stores[n % 2 === 0 ? 0 : 1].insert(tool, version);
            }),
          );
          expect(answers.toSorted()).toEqual(["inserted", ...Array.from({ length: 5 }, () => "slug-taken")]);
          expect(await store.findBySlugs([slug])).toHaveLength(1);
        });

        test("leaves nothing of what fails half-way", async () => {
          const { version: taken } = await insert();
          const { tool, version } = toolOf({ name: "Halfway", tags: ["halfway"] });
          await expect(store.insert(tool, { ...version, id: taken.id })).rejects.toThrow();
          expect(await find(tool.id)).toBeNull();
          expect(await store.takenOf([tool.slug])).toEqual(new Set());
          expect(await listed({ words: ["halfway"], includeDeleted: true })).toEqual([]);
          expect(await kindsOf(tool.id)).toEqual([]);
          expect(await store.insert(tool, version)).toBe("inserted");
        });
      },

      commit() {
        test("makes a version the current one, with its name, description and tags, and tells of it", async () => {
          const { tool, version } = await insert({ name: "Before", description: "earlier", tags: ["before", "both"] });
          const next = nextOf(version, { name: "After", description: "later", tags: ["both", "after"] });
          expect(await store.commit(next, version.id)).toBe("committed");
          const changed: Tool = {
            ...tool,
            name: "After",
            description: "later",
            tags: ["both", "after"],
            currentVersionId: next.id,
            currentNumber: 2,
            updatedAt: next.createdAt,
          };
          expect(await find(tool.id)).toEqual(changed);
          expect(await store.findVersion(tool.id, 1)).toEqual(version);
          expect(await store.findVersion(tool.id, 2)).toEqual(next);
          expect(await listed({ tag: "before" })).toEqual([]);
          for (const tag of ["both", "after"]) expect(await listed({ tag })).toEqual([changed]);
          expect(await listed({ words: [tool.slug, "earlier"] })).toEqual([]);
          expect(await listed({ words: [tool.slug, "later", "after"] })).toEqual([changed]);
          expect(await kindsOf(tool.id)).toEqual(["CREATED", "UPDATED"]);
        });

        test("refuses a version after one that is not current, or of a deleted tool, and writes nothing then", async () => {
          const { tool, version } = await insert();
          const second = nextOf(version);
          await store.commit(second, version.id);
          const late = nextOf(second, { name: "Late", tags: ["late"] });
          expect(await store.commit(late, version.id)).toBe("superseded");
          await store.setDeleted(tool.id, true, NOW);
          expect(await store.commit(late, second.id)).toBe("superseded");
          expect(await store.commit({ ...late, toolId: newId() }, second.id)).toBe("superseded");
          expect(await store.findVersionsByIds([late.id])).toEqual([]);
          expect((await find(tool.id))?.name).toBe(tool.name);
          expect(await listed({ tag: "late", includeDeleted: true })).toEqual([]);
          expect(await kindsOf(tool.id)).toEqual(["CREATED", "UPDATED", "DELETED"]);
          await store.setDeleted(tool.id, false, NOW);
          expect(await store.commit(late, second.id)).toBe("committed");
        });

        test("takes one of the versions that several processes make of the same one at once", async () => {
          const { tool, version } = await insert();
          const next = [0, 1, 2, 3, 4, 5].map((n) => nextOf(version, { name: `Writer ${n}`, tags: [`writer-${n}`] }));
          const answers = await Promise.all(
            next.map((each, n) => stores[n % 2 === 0 ? 0 : 1].commit(each, version.id)),
          );
          expect(answers.toSorted()).toEqual(["committed", ...Array.from({ length: 5 }, () => "superseded")]);
          const winner = next[answers.indexOf("committed")];
          expect(await find(tool.id)).toMatchObject({ currentVersionId: winner?.id, name: winner?.name });
          expect(await store.versionCounts([tool.id])).toEqual([2]);
          expect(await kindsOf(tool.id)).toEqual(["CREATED", "UPDATED"]);
        });

        test("leaves nothing of what fails half-way", async () => {
          const { tool, version } = await insert({ tags: ["kept"] });
          const { version: taken } = await insert();
          const next = nextOf(version, { id: taken.id, name: "Broken", tags: ["broken"] });
          await expect(store.commit(next, version.id)).rejects.toThrow();
          expect(await find(tool.id)).toEqual(tool);
          expect(await listed({ tag: "broken" })).toEqual([]);
          expect(await kindsOf(tool.id)).toEqual(["CREATED"]);
        });
      },

      setDeleted() {
        test("leaves a tool alone whose current version is another than the one that is named", async () => {
          const { tool, version } = await insert();
          const next = nextOf(version, { name: "Meanwhile" });
          await store.commit(next, version.id);
          expect(await store.setDeleted(tool.id, true, NOW, version.id)).toBe(false);
          expect((await find(tool.id))?.deletedAt).toBeNull();
          expect(await kindsOf(tool.id)).toEqual(["CREATED", "UPDATED"]);
          expect(await store.setDeleted(tool.id, true, NOW, next.id)).toBe(true);
        });

        test("marks once, each time with an event, and hides the tool from lists that are not asked for it", async () => {
          const tags = [`deleted-${newId()}`];
          const { tool } = await insert({ tags });
          expect(await store.setDeleted(tool.id, false, NOW + 1)).toBe(false);
          expect(await store.setDeleted(tool.id, true, NOW + 2)).toBe(true);
          expect(await store.setDeleted(tool.id, true, NOW + 3)).toBe(false);
          const deleted = { ...tool, deletedAt: NOW + 2, updatedAt: NOW + 2 };
          expect(await find(tool.id)).toEqual(deleted);
          for (const filter of [
            { tag: tags[0] ?? "" },
            { words: [tool.slug] },
            { words: [tool.slug], tag: tags[0] ?? "" },
          ]) {
            expect(await listed(filter)).toEqual([]);
            expect(await store.page({ ...EVERYTHING, ...filter }, FIRST_PAGE).totalCount()).toBe(0);
            expect(await listed({ ...filter, includeDeleted: true })).toEqual([deleted]);
          }
          expect(idsOf(await listed({}))).not.toContain(tool.id);
          expect(idsOf(await listed({ includeDeleted: true }))).toContain(tool.id);
          expect(await store.setDeleted(tool.id, false, NOW + 4)).toBe(true);
          const restored = { ...tool, updatedAt: NOW + 4 };
          expect(await listed({ tag: tags[0] ?? "" })).toEqual([restored]);
          expect(await listed({ words: [tool.slug] })).toEqual([restored]);
          expect(await kindsOf(tool.id)).toEqual(["CREATED", "DELETED", "RESTORED"]);
        });

        test("answers true to one of those who ask at once, and false for a tool that is not there", async () => {
          const { tool } = await insert();
          const answers = await Promise.all(
            [0, 1, 0, 1].map((n) => stores[n === 0 ? 0 : 1].setDeleted(tool.id, true, NOW)),
          );
          expect(answers.filter((changed) => changed)).toHaveLength(1);
          expect(await kindsOf(tool.id)).toEqual(["CREATED", "DELETED"]);
          expect(await store.setDeleted(newId(), true, NOW)).toBe(false);
        });
      },

      share() {
        test("keeps a share as it is, and tells of it with the tool's author; the same again is no change", async () => {
          const { tool } = await insert({ authorId: "author" });
          const share = shareOf(tool.id, { sharedById: "author" });
          expect(await store.share(share, 2)).toBe("shared");
          expect(await store.share({ ...share, sharedById: "admin", updatedAt: NOW + 5 }, 2)).toBe("shared");
          expect(await stores[1].sharesOf([tool.id])).toEqual([[share]]);
          expect(await events.readAfter(0, 10, tool.id)).toMatchObject([
            { kind: "CREATED" },
            { kind: "SHARED", payload: { userId: "user", access: "USE", authorId: "author" }, at: NOW },
          ]);
        });

        test("changes the access of one that is there, since when it is shared stays", async () => {
          const { tool } = await insert();
          await store.share(shareOf(tool.id), 1);
          expect(
            await store.share(shareOf(tool.id, { access: "EDIT", sharedById: "admin", createdAt: 9, updatedAt: 9 }), 1),
          ).toBe("shared");
          expect(await store.sharesOf([tool.id])).toEqual([
            [shareOf(tool.id, { access: "EDIT", sharedById: "admin", updatedAt: 9 })],
          ]);
        });

        test("shares with no more users than it may, also when they come at once", async () => {
          const { tool } = await insert();
          const all = await Promise.all(
            ["a", "b", "c", "d"].map((userId, index) =>
              (index % 2 ? stores[1] : store).share(shareOf(tool.id, { userId }), 2),
            ),
          );
          expect(all.toSorted()).toEqual(["shared", "shared", "too-many", "too-many"]);
        });

        test("shares no tool that is deleted or does not exist", async () => {
          const { tool } = await insert();
          await store.setDeleted(tool.id, true, NOW);
          for (const id of [tool.id, newId()]) expect(await store.share(shareOf(id), 2)).toBe("gone");
          expect(await kindsOf(tool.id)).toEqual(["CREATED", "DELETED"]);
        });
      },

      unshare() {
        test("ends one user's share and tells of it; what is not shared is no change", async () => {
          const { tool } = await insert({ authorId: "author" });
          for (const userId of ["one", "other"]) await store.share(shareOf(tool.id, { userId }), 2);
          expect(await store.unshare(tool.id, "one", NOW + 7)).toBe(true);
          for (const userId of ["one", "nobody"]) expect(await store.unshare(tool.id, userId, NOW + 8)).toBe(false);
          expect(await store.sharesOf([tool.id])).toMatchObject([[{ userId: "other" }]]);
          expect((await events.readAfter(0, 10, tool.id)).slice(3)).toMatchObject([
            { kind: "UNSHARED", payload: { userId: "one", access: null, authorId: "author" }, at: NOW + 7 },
          ]);
        });
      },

      sharesOf() {
        test("answers those of each tool in the order of the ids, the first first", async () => {
          const [one, none, other] = [await insert(), await insert(), await insert()];
          await store.share(shareOf(one.tool.id, { userId: "a", createdAt: NOW + 1 }), 2);
          await store.share(shareOf(one.tool.id, { userId: "b" }), 2);
          await store.share(shareOf(other.tool.id, { userId: "a" }), 2);
          const found = await store.sharesOf([other.tool.id, none.tool.id, one.tool.id]);
          expect(found.map((shares) => shares.map(({ userId }) => userId))).toEqual([["a"], [], ["b", "a"]]);
        });
      },

      accessOf() {
        test("answers the user's own in the order of the ids, and nothing of a deleted tool until it is restored", async () => {
          const [one, none, other] = [await insert(), await insert(), await insert()];
          const userId = newId();
          await store.share(shareOf(one.tool.id, { userId, access: "EDIT" }), 2);
          await store.share(shareOf(none.tool.id, { userId: "somebody-else" }), 2);
          await store.share(shareOf(other.tool.id, { userId }), 2);
          const ids = [other.tool.id, newId(), one.tool.id, none.tool.id, one.tool.id];
          expect(await store.accessOf(userId, ids)).toEqual(["USE", null, "EDIT", null, "EDIT"]);
          await store.setDeleted(one.tool.id, true, NOW);
          expect(await store.accessOf(userId, ids)).toEqual(["USE", null, null, null, null]);
          await store.setDeleted(one.tool.id, false, NOW);
          expect(await store.accessOf(userId, [one.tool.id])).toEqual(["EDIT"]);
        });
      },

      pageOf() {
        test("lists a user's own tools, and those shared with them, newest first, but deleted ones", async () => {
          const [userId, authorId] = [newId(), newId()];
          const made = [];
          for (let index = 0; index < 5; index++) made.push((await insert({ authorId })).tool.id);
          for (const id of made) await store.share(shareOf(id, { userId }), 2);
          await insert({ authorId: userId });
          await store.setDeleted(made[2] ?? "", true, NOW);
          const newest = made.filter((_, index) => index !== 2).toReversed();
          for (const list of [{ authorId }, { sharedWith: userId }]) {
            const pages = await everyPage(
              (page) => store.pageOf(list, page).rows(),
              ({ id }) => id,
              3,
            );
            expect(idsOf(pages)).toEqual(newest);
            expect(await store.pageOf(list, FIRST_PAGE).totalCount()).toBe(4);
          }
          expect(await store.pageOf({ sharedWith: authorId }, FIRST_PAGE).rows()).toEqual([]);
        });
      },

      findByIds() {
        test("answers those that there are, each once, by the id as it is", async () => {
          const made = [await insert(), await insert()];
          const [one, other] = made.map(({ tool }) => tool);
          const wanted = [other, one, one].map((tool) => tool?.id ?? "");
          expect((await store.findByIds([...wanted, newId()])).toSorted(byId)).toEqual([one, other]);
          expect(await store.findByIds([])).toEqual([]);
          expect(await store.findByIds([(one?.id ?? "").toUpperCase(), `${one?.id} `, "", "%"])).toEqual([]);
        });
      },

      ofTemplate() {
        test("finds the newest tool of a template, an author and a name", async () => {
          const mine = { templateId: newId(), authorId: "me", name: "Mine" };
          const { tool: older } = await insert(mine);
          const { tool: newer } = await insert(mine);
          for (const other of [{ templateId: null }, { templateId: newId() }, { authorId: "you" }, { name: "Other" }])
            await insert({ ...mine, ...other });
          const found = () => store.ofTemplate(mine.templateId, mine.authorId, mine.name);
          expect(await found()).toEqual(newer);
          await store.setDeleted(newer.id, true, NOW);
          expect(await found()).toEqual(older);
          await store.setDeleted(older.id, true, NOW);
          expect(await found()).toBeNull();
        });
      },

      findBySlugs() {
        test("answers those that there are, deleted ones as well, by the slug as it is", async () => {
          const { tool } = await insert({ slug: `a-slug-${newId().slice(-12)}` });
          await store.setDeleted(tool.id, true, NOW);
          expect(idsOf(await store.findBySlugs([tool.slug, "nobody-has-it"]))).toEqual([tool.id]);
          expect(await store.findBySlugs([])).toEqual([]);
          for (const other of [
            tool.slug.toUpperCase(),
            `${tool.slug} `,
            ` ${tool.slug}`,
            tool.slug.replace("a", "\u00e4"),
            "%",
            "",
          ])
            expect(await store.findBySlugs([other])).toEqual([]);
        });
      },

      findVersionsByIds() {
        test("answers those that there are, each once", async () => {
          const { version } = await insert();
          expect(await store.findVersionsByIds([version.id, version.id, newId()])).toEqual([version]);
          expect(await store.findVersionsByIds([])).toEqual([]);
        });
      },

      findVersion() {
        test("finds a version by its tool and number, and nothing for another", async () => {
          const { tool, version } = await insert();
          expect(await store.findVersion(tool.id, 1)).toEqual(version);
          for (const number of [0, -1, 2, 2 ** 31 - 1, 2 ** 31, 1.5])
            expect(await store.findVersion(tool.id, number)).toBeNull();
          expect(await store.findVersion(newId(), 1)).toBeNull();
        });
      },

      findVersionsOf() {
        test("answers the version of a number of each tool that has one", async () => {
          const [one, other] = [await insert(), await insert()];
          const second = nextOf(one.version);
          await store.commit(second, one.version.id);
          const ids = [one.tool.id, other.tool.id, newId()];
          expect((await store.findVersionsOf(ids, 1)).toSorted(byId)).toEqual(
            [one.version, other.version].toSorted(byId),
          );
          expect(await store.findVersionsOf(ids, 2)).toEqual([second]);
          expect(await store.findVersionsOf(ids, 3)).toEqual([]);
          expect(await store.findVersionsOf([], 1)).toEqual([]);
        });
      },

      page() {
        const mark = "pagedmark";
        const made: Tool[] = [];
        beforeAll(async () => {
          for (let n = 0; n < 23; n++)
            made.push(
              (await insert({ name: `Paged q${n}`, description: mark, tags: [mark, ...(n % 2 === 0 ? ["even"] : [])] }))
                .tool,
            );
          for (const tool of made.slice(5, 8)) await store.setDeleted(tool.id, true, NOW);
        });
        const newestFirst = (tools: readonly Tool[]) => idsOf(tools).toSorted().toReversed();

        test.each<[Partial<ToolFilter>, (tool: Tool, n: number) => boolean]>([
          [{ tag: mark }, (_tool, n) => n < 5 || n > 7],
          [{ tag: mark, includeDeleted: true }, () => true],
          [{ words: [mark] }, (_tool, n) => n < 5 || n > 7],
          [{ words: [mark], includeDeleted: true }, () => true],
          [{ words: [mark], tag: "even", includeDeleted: true }, (_tool, n) => n % 2 === 0],
          [{ words: [mark, "paged q1"] }, (_tool, n) => n === 1 || (n > 9 && n < 20)],
          [{ words: [mark, "q2"] }, (_tool, n) => n === 2 || n > 19],
        ])(
          "goes over what was registered in the same millisecond, newest first, each once: %j",
          async (filter, fits) => {
            const wanted = newestFirst(made.filter(fits));
            for (const limit of [1, 4, 23, 100]) {
              const whole = { ...EVERYTHING, ...filter };
              const found = await everyPage(
                (page) => store.page(whole, page).rows(),
                ({ id }) => id,
                limit,
              );
              expect(idsOf(found)).toEqual(wanted);
              for (const page of [
                FIRST_PAGE,
                { limit: 1, afterId: wanted[3] ?? null, offset: 0 },
                { limit: 1, afterId: null, offset: 7 },
              ])
                expect(await store.page(whole, page).totalCount()).toBe(found.length);
            }
          },
        );

        test("of everything begins with what is newest, and has nothing beyond its end", async () => {
          const { tool } = await insert();
          const rows = await store.page(EVERYTHING, { limit: 2, afterId: null, offset: 0 }).rows();
          expect(rows).toHaveLength(3);
          expect(rows[0]).toEqual(tool);
          const { current } = await store.count();
          expect(await store.page(EVERYTHING, FIRST_PAGE).totalCount()).toBe(current);
          expect(await store.page(EVERYTHING, { ...FIRST_PAGE, offset: current }).rows()).toEqual([]);
          expect(
            await store.page(EVERYTHING, { ...FIRST_PAGE, afterId: "00000000-0000-7000-8000-000000000000" }).rows(),
          ).toEqual([]);
        });

        test("goes on behind a tool that is in the list no more", async () => {
          const gone = made[6];
          const after = { limit: 3, afterId: gone?.id ?? "", offset: 0 };
          for (const filter of [{ tag: mark }, { words: [mark] }])
            expect(idsOf(await store.page({ ...EVERYTHING, ...filter }, after).rows())).toEqual(
              newestFirst(made.slice(1, 5)),
            );
        });

        test("finds a tool by each of its tags as it is, and by no other", async () => {
          const own = ODD_TEXTS.map((text) => [text, `odd${text}`] as const);
          const tools = new Map<string, Tool>();
          for (const [text, tag] of own) tools.set(text, (await insert({ tags: [tag] })).tool);
          for (const [text, tag] of own) {
            expect(await listed({ tag }), JSON.stringify(text)).toEqual([tools.get(text)]);
            expect(await store.page({ ...EVERYTHING, tag }, FIRST_PAGE).totalCount()).toBe(1);
          }
          for (const tag of ["", "%", "_", "paged", `${mark}\0`])
            expect(idsOf(await listed({ tag })), tag).not.toContain(made[0]?.id);
        });

        test.each([
          "%",
          "_",
          "\\",
          "'",
          '"',
          "*",
          "%%%",
          "___",
          "\\\\\\",
          '"""',
          "%_\\",
          "a%b",
          "x_y",
          "\u{1f600}",
          "\u{1f600}\u{1f601}\u{1f600}",
          "\u6f22",
          "AND",
          "NEAR(",
          "-none",
        ])("looks for %s as it is written", async (word) => {
          const here = `h${newId().replaceAll("-", "")}`;
          const { tool } = await insert({ name: `before${word}behind`, description: here });
          await insert({ name: "before-behind aXb xZy", description: here });
          expect(await listed({ words: [here, word] })).toEqual([tool]);
          expect(await listed({ words: [here, `before${word}behind`] })).toEqual([tool]);
        });

        test("looks for each word in slug, name, description and tags, without regard to case and compatibility forms", async () => {
          const key = newId().slice(-12);
          const { tool } = await insert({
            slug: `slug-${key}`,
            name: "N\u00c4ME",
            description: "Long \uff24\uff45scription",
            tags: ["TaG one"],
          });
          for (const word of ["SLUG", "n\u00e4me", "na\u0308me", "desc", "DESCRIPTION", "tag", "o", "\u00e4"])
            expect(idsOf(await listed({ words: [`slug-${key}`, word] })), word).toEqual([tool.id]);
          for (const word of ["name", "tag  one", "tagone", "slug_", "zz", "\0", "na\0me"])
            expect(idsOf(await listed({ words: [`slug-${key}`, word] })), word).toEqual([]);
        });

        test("takes an empty word for one that all tools have", async () => {
          expect(idsOf(await listed({ words: ["", mark] }))).toEqual(
            newestFirst(made.filter((_tool, n) => n < 5 || n > 7)),
          );
        });
      },

      versionPages() {
        test("pages the versions of each tool, newest first, by their numbers", async () => {
          const [many, one] = [await insert(), await insert()];
          const versions = [many.version];
          for (let n = 2; n <= 12; n++) {
            const next = nextOf(versions.at(-1) ?? many.version);
            await store.commit(next, versions.at(-1)?.id ?? "");
            versions.push(next);
          }
          const read = async (page: Page) => (await store.versionPages([newId(), many.tool.id], page))[1] ?? [];
          for (const limit of [1, 5, 12])
            expect(await everyPage(read, ({ number }) => String(number), limit)).toEqual(versions.toReversed());
          const ids = [one.tool.id, newId(), many.tool.id];
          expect(await store.versionPages(ids, { limit: 1, afterId: null, offset: 0 })).toEqual([
            [one.version],
            [],
            versions.slice(-2).toReversed(),
          ]);
          expect(await store.versionPages([], FIRST_PAGE)).toEqual([]);
        });
      },

      versionCounts() {
        test("counts in the order of the tools", async () => {
          const [one, two] = [await insert(), await insert()];
          await store.commit(nextOf(two.version), two.version.id);
          expect(await store.versionCounts([two.tool.id, newId(), one.tool.id])).toEqual([2, 0, 1]);
          expect(await store.versionCounts([])).toEqual([]);
        });
      },

      takenOf() {
        test("answers the slugs that tools have, deleted ones as well", async () => {
          const [one, gone] = [await insert(), await insert()];
          await store.setDeleted(gone.tool.id, true, NOW);
          const slugs = [one.tool.slug, gone.tool.slug];
          expect(await store.takenOf([...slugs, "free", one.tool.slug.toUpperCase()])).toEqual(new Set(slugs));
          expect(await store.takenOf([])).toEqual(new Set());
        });
      },

      newestSlugs() {
        test("answers the newest that are not deleted", async () => {
          const made = [await insert(), await insert(), await insert()];
          const [first, deleted, last] = made.map(({ tool }) => tool);
          await store.setDeleted(deleted?.id ?? "", true, NOW);
          expect(await store.newestSlugs(2)).toEqual([last?.slug, first?.slug]);
        });
      },

      count() {
        test("counts all that were registered, and those that are not deleted", async () => {
          const before = await store.count();
          const { tool } = await insert();
          await insert();
          await store.setDeleted(tool.id, true, NOW);
          expect(await store.count()).toEqual({ ever: before.ever + 2, current: before.current + 1 });
        });
      },

      completeSearch() {
        test("changes nothing that is found", async () => {
          const { tool } = await insert();
          await store.completeSearch();
          expect(await store.completeSearch()).toBe(0);
          expect(await store.page({ ...EVERYTHING, words: [tool.slug] }, FIRST_PAGE).rows()).toEqual([tool]);
        });
      },
    });

    test("what one process has written, another reads at once", async () => {
      const [one, other] = stores;
      const { tool, version } = toolOf({ tags: ["shared"] });
      await one.insert(tool, version);
      expect(await other.findByIds([tool.id])).toEqual([tool]);
      await other.commit(nextOf(version, { name: "Of the other" }), version.id);
      expect(await one.page({ ...EVERYTHING, words: [tool.slug, "of the other"] }, FIRST_PAGE).totalCount()).toBe(1);
    });
  });
}
