import { dialectOf, insertRows, readPagesByParent, type Database } from "@toolyard/storage";
import { In, type EntityManager } from "typeorm";
import { interfaceChangeEntity, interfaceEntity } from "../database.ts";
import { KEPT_CHANGES, KEPT_INTERFACES, type InterfaceStore, type InterfaceWrite } from "./interface-store.ts";

const HEAD = { toolId: true, digest: true, hash: true, toolsHash: true, at: true, deploymentId: true } as const;
/** Removed with one write: more go with the next. */
const REMOVED_AT_ONCE = 50;

export function createSqlInterfaceStore(database: Database): InterfaceStore {
  const interfaces = () => database.read.getRepository(interfaceEntity);
  return {
    async heads(keys) {
      if (keys.length === 0) return [];
      const where = { toolId: In(keys.map(({ toolId }) => toolId)), digest: In(keys.map(({ digest }) => digest)) };
      const found = await interfaces().find({ select: HEAD, where });
      return keys.map(
        ({ toolId, digest }) => found.find((head) => head.toolId === toolId && head.digest === digest) ?? null,
      );
    },
    find: ({ toolId, digest }) => interfaces().findOneBy({ toolId, digest }),
    changesOf(toolIds, digest, limit) {
      const changes = database.read.getRepository(interfaceChangeEntity);
      const page = { limit: limit - 1, afterId: null, offset: 0 };
      const where = digest === null ? {} : { digest };
      return readPagesByParent(changes, toolIds, page, { parentColumn: "toolId", where });
    },
  };
}

/** Writes an interface, and removes the tool's oldest. Answers false, and writes nothing, where it does not replace what it was to replace. */
export async function saveInterface(manager: EntityManager, write: InterfaceWrite): Promise<boolean> {
  const { stored, replaces, change } = write;
  const { toolId, digest } = stored;
  // A tool's deployments see it at the same time.
  await dialectOf(manager).lock(manager, "interfaces");
  const interfaces = manager.getRepository(interfaceEntity);
  const before = await interfaces.findOne({ select: HEAD, where: { toolId, digest } });
  if ((before?.hash ?? null) !== replaces) return false;
  await insertRows(manager, interfaceEntity, [stored], { replace: true });
  const old = await interfaces.find({
    select: HEAD,
    where: { toolId },
    order: { at: "DESC", digest: "DESC" },
    skip: KEPT_INTERFACES,
    take: REMOVED_AT_ONCE,
  });
  if (old.length > 0) await interfaces.delete({ toolId, digest: In(old.map((each) => each.digest)) });
  if (change === null) return true;
  const changes = manager.getRepository(interfaceChangeEntity);
  await changes.insert(change);
  const past = await changes.find({
    select: { id: true },
    where: { toolId },
    order: { id: "DESC" },
    skip: KEPT_CHANGES,
    take: REMOVED_AT_ONCE,
  });
  if (past.length > 0) await changes.delete({ id: In(past.map(({ id }) => id)) });
  return true;
}
