import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { Pool } from "undici";
import { composeFixture } from "@toolyard/gateway/execution/fixtures/compose.ts";
const c = composeFixture({ products: { typeDefs: "type Query { a: Int }", resolvers: {} }, reviews: { typeDefs: "type Query { b: Int }", resolvers: {} }, users: { typeDefs: "type Query { c: Int }", resolvers: {} }, shipping: { typeDefs: "type Query { d: Int }", resolvers: {} } });
writeFileSync("/tmp/gwbench/sg.graphql", c.supergraphSdl);
const urls = "products=http://127.0.0.1:9/,reviews=http://127.0.0.1:9/,users=http://127.0.0.1:9/,shipping=http://127.0.0.1:9/";
const mk = (entry: string, port: number) => spawn(process.execPath, [entry, "--supergraph", "/tmp/gwbench/sg.graphql"], { stdio: "inherit", env: { PATH: process.env.PATH, PORT: String(port), LOG_LEVEL: "warn", SUBGRAPH_URLS: urls, RATE_LIMIT_OPERATIONS_PER_MINUTE: "10000000" } });
const kids = [["apollo", mk("tests/bench/zz-apollo-entry.ts", 4811), 4811], ["ours", mk("gateway/main.ts", 4812), 4812]] as const;
await new Promise((r) => setTimeout(r, 4000));
const cpu = (pid: number) => { const f = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" "); return (Number(f[11]) + Number(f[12])) / 100; };
const body = JSON.stringify({ query: "query T { __typename }" });
for (let round = 0; round < 4; round++) for (const [name, kid, port] of kids) {
  const pool = new Pool(`http://127.0.0.1:${port}`, { connections: 20 });
  const n = 6000; let left = n; const before = cpu(kid.pid!);
  await Promise.all(Array.from({ length: 20 }, async () => { while (left-- > 0) { const r = await pool.request({ path: "/graphql", method: "POST", headers: { "content-type": "application/json" }, body }); await r.body.dump(); } }));
  console.log(round, name, ((cpu(kid.pid!) - before) / n * 1000).toFixed(3), "ms");
  await pool.close();
}
for (const [, kid] of kids) kid.kill();
