/**
 * The tools subgraph of Toolyard's own graph in a process of its own, and what fills its event log: `tools-graph.ts DATA_DIR SECRET_KEY`.
 */
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createEventLog, createInProcessBus } from "@toolyard/events";
import { createCallerHeaderVerifier, createDeferredGraphClient, createLogger } from "@toolyard/service-kit";
import { serveSubgraph } from "@toolyard/subgraph-host/subgraph-server.ts";
import { openDatabase, readMigrations } from "@toolyard/storage";
import { createStores } from "@toolyard/subgraph-host";
import { createToolsSubgraph } from "@toolyard/subgraph-tools";
import { parseToolsConfig } from "@toolyard/subgraph-tools/config.ts";
import { entities, migrationsFolder, toolEventSchema } from "@toolyard/subgraph-tools/database.ts";
import { now, type Clock } from "./messages.ts";

const [, , dataDir = "", secretKey = ""] = process.argv;
const bus = createInProcessBus();
const logger = createLogger({ level: "error", name: "tools" });
const subgraph = await createToolsSubgraph({
  config: parseToolsConfig({}),
  logger,
  stores: createStores({ dataDir, bus, logger }),
  graph: createDeferredGraphClient(),
  secretKeys: [secretKey],
  dataDir,
});
const server = await serveSubgraph({
  subgraph,
  host: "127.0.0.1",
  port: 0,
  verifyCaller: createCallerHeaderVerifier({ secretKeys: [secretKey], audience: "tools" }),
  logger,
});
const database = await openDatabase({
  file: join(dataDir, "tools.sqlite"),
  entities,
  migrations: readMigrations(migrationsFolder),
});
const log = createEventLog<{ kind: string }>({ database, schema: toolEventSchema, bus });

async function write({ beganAt, rate, count }: Clock): Promise<void> {
  let written = 0;
  while (written < count) {
    const due = Math.min(count, Math.floor(((now() - beganAt) / 1_000) * rate)) - written;
    if (due > 0) {
      const events = Array.from({ length: Math.min(due, 50) }, (_, index) => ({
        kind: "UPDATED",
        subjectId: `019a0000-0000-7000-8000-${String(written + index).padStart(12, "0")}`,
        payload: { kind: "UPDATED" },
      }));
      await database.transaction((tx) => log.append(tx, events));
      written += events.length;
    } else await delay(5);
  }
}

process.on("message", (message: { begin?: Clock }) => {
  if (message.begin) void write(message.begin);
  process.send?.({});
});
process.on("disconnect", () => process.exit(0));
process.send?.({ url: server.url });
