import { defineConfig } from "@graphql-hive/gateway";
import { asTheUser } from "./as-the-user.mjs";

export const gatewayConfig = defineConfig({ ...asTheUser, logging: "error", landingPage: false, graphiql: false });
