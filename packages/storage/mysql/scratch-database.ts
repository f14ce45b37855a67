import { randomUUID } from "node:crypto";
import mysql, { type RowDataPacket } from "mysql2/promise";

/** An empty database for a moment: of tests, and of whoever compares schemas. */
export interface ScratchDatabase {
  url: string;
  type: "mysql" | "mariadb";
  drop(): Promise<void>;
}

/** @param serverUrl Of a server, with a user who may make databases */
export async function createScratchDatabase(serverUrl: string): Promise<ScratchDatabase> {
  const name = `toolyard_scratch_${randomUUID().replaceAll("-", "")}`;
  const server = await mysql.createConnection(serverUrl);
  const [rows] = await server.query<RowDataPacket[]>("SELECT VERSION() AS version");
  await server.query(`CREATE DATABASE ${name} CHARACTER SET utf8mb4`);
  return {
    url: new URL(name, serverUrl.replace(/\/*$/, "/")).href,
    type: /MariaDB/.test(String(rows[0]?.["version"])) ? "mariadb" : "mysql",
    async drop() {
      await server.query(`DROP DATABASE IF EXISTS ${name}`);
      await server.end();
    },
  };
}
