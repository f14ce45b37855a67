import { runSubgraph } from "@toolyard/subgraph-host/subgraph-main.ts";
import { createIdentitySubgraph, parseIdentityConfig } from "./index.ts";

await runSubgraph({
  name: "identity",
  env: process.env,
  parseConfig: parseIdentityConfig,
  async create(options) {
    const subgraph = await createIdentitySubgraph(options);
    const administrator = await subgraph.ensureFirstAdministrator();
    const { created, username, passwordFile, notes } = administrator;
    // The password itself stays in its file: logs are kept and read by others.
    if (created) options.logger.info({ username, passwordFile }, "the first administrator was created");
    for (const note of notes) options.logger.warn(note);
    return Object.assign(subgraph, { facts: administrator });
  },
});
