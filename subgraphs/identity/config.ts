import { ConfigError, parseEnvironment, type Environment, type Role } from "@toolyard/service-kit";
import { parseProcessConfig, type ProcessConfig } from "@toolyard/service-kit/process/process-config.ts";
import { z } from "zod";
import { passwordProblem, usernameSchema } from "./account-rules.ts";

export interface IdentityConfig {
  /** Whether anybody may make an account. */
  registration: "open" | "closed";
  /** The role of newly registered users. */
  registrationRole: Role;
  /** The first administrator's, made when there is no user. */
  adminUsername: string;
  /** Null: one is generated. */
  adminPassword: string | null;
  /** Whether failed logins are limited. */
  rateLimitEnabled: boolean;
}

const shape = {
  REGISTRATION: z.enum(["open", "closed"], "must be open or closed").default("open").meta({ example: "closed" }),
  REGISTRATION_ROLE: z
    .enum(["VIEWER", "DEVELOPER"], "must be VIEWER or DEVELOPER; the role ADMIN is only given by an administrator")
    .default("VIEWER")
    .meta({ example: "VIEWER" }),
  ADMIN_USERNAME: usernameSchema.default("admin").meta({ example: "admin" }),
  ADMIN_PASSWORD: z.string().optional().meta({ secret: true, example: "a sentence that only you know" }),
};

/** Reads identity's own variables. @throws ConfigError naming what is wrong, never the password. */
export function parseIdentityConfig(
  env: Environment,
  { process = parseProcessConfig(env) }: { process?: ProcessConfig } = {},
): IdentityConfig {
  const values = parseEnvironment(shape, env);
  const adminPassword = values.ADMIN_PASSWORD ?? null;
  const problem = adminPassword === null ? null : passwordProblem(adminPassword, { username: values.ADMIN_USERNAME });
  if (problem !== null) {
    throw new ConfigError(`ADMIN_PASSWORD: ${problem}. Example: ADMIN_PASSWORD=a sentence that only you know`);
  }
  return {
    registration: values.REGISTRATION,
    registrationRole: values.REGISTRATION_ROLE,
    adminUsername: values.ADMIN_USERNAME,
    adminPassword,
    rateLimitEnabled: process.rateLimits,
  };
}
