// Hive Gateway on the Rust planner's runtime.
import { defineConfig } from "@graphql-hive/gateway";
import { unifiedGraphHandler } from "@graphql-hive/router-runtime";

export const gatewayConfig = defineConfig({
  unifiedGraphHandler,
  logging: "error",
  landingPage: false,
  graphiql: false,
});
