// Hive Gateway on the Rust planner's runtime.
import { defineConfig } from "@graphql-hive/gateway";
import { unifiedGraphHandler } from "@graphql-hive/router-runtime";
import { asTheUser } from "./as-the-user.mjs";

export const gatewayConfig = defineConfig({
  ...asTheUser,
  unifiedGraphHandler,
  logging: "error",
  landingPage: false,
  graphiql: false,
});
