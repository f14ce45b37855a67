import { parseEnvironment, ConfigError, type Environment } from "@toolyard/service-kit";
import { httpUrl, list } from "@toolyard/service-kit/process/config.ts";
import { z } from "zod";

/** How Toolyard reaches GitHub, and what GitHub's webhooks prove themselves by. */
export interface GitHubConfig {
  /** Of the REST API, without a trailing slash: `https://api.github.com`, or `https://HOST/api/v3` of an Enterprise server. */
  apiUrl: string;
  /** Null: repositories cannot be read. */
  credential: { type: "token"; token: string } | { type: "app"; appId: string; privateKey: string } | null;
  /** The shared secret of webhooks; null: their deliveries are refused. */
  webhookSecret: string | null;
  /** `owner/name` or `owner/*`, in lower case: those that may be read; null: whatever the credential reads. */
  repositories: readonly string[] | null;
}

const shape = {
  GITHUB_API_URL: httpUrl("https://github.example.com/api/v3").default("https://api.github.com"),
  GITHUB_TOKEN: z
    .string()
    .regex(/^[\x21-\x7e]+$/, "must be a token of GitHub's, without spaces")
    .optional()
    .meta({ secret: true, example: "github_pat_…" }),
  GITHUB_APP_ID: z.string().regex(/^\d+$/, "must be the App's number").optional().meta({ example: "123456" }),
  GITHUB_APP_PRIVATE_KEY: z
    .string()
    // Files of variables have one line for each.
    .transform((text) => text.replaceAll("\\n", "\n"))
    .refine((text) => /^-----BEGIN (?:RSA )?PRIVATE KEY-----\n/.test(text), "must be the App's private key, in PEM")
    .optional()
    .meta({ secret: true, example: "-----BEGIN RSA PRIVATE KEY-----\\n…" }),
  GITHUB_WEBHOOK_SECRET: z
    .string()
    .min(16, "must have at least 16 characters")
    .optional()
    .meta({ secret: true, example: "the output of `openssl rand -hex 32`" }),
  GITHUB_REPOSITORIES: list([], "acme/weather,acme-labs/*").refine(
    (entries) => entries.every((entry) => /^[\w.-]+\/(?:\*|[\w.-]+)$/.test(entry)),
    "must be owner/name or owner/*, separated by commas",
  ),
};

/** @throws ConfigError naming every wrong variable, never a secret */
export function parseGitHubConfig(env: Environment): GitHubConfig {
  const values = parseEnvironment(shape, env);
  const { GITHUB_APP_ID: appId, GITHUB_APP_PRIVATE_KEY: privateKey, GITHUB_TOKEN: token } = values;
  if ((appId === undefined) !== (privateKey === undefined))
    throw new ConfigError("GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY go together: set both, or neither.");
  const { GITHUB_REPOSITORIES: repositories } = values;
  return {
    apiUrl: values.GITHUB_API_URL.replace(/\/+$/, ""),
    credential:
      appId !== undefined && privateKey !== undefined
        ? { type: "app", appId, privateKey }
        : token === undefined
          ? null
          : { type: "token", token },
    webhookSecret: values.GITHUB_WEBHOOK_SECRET ?? null,
    repositories: repositories.length === 0 ? null : repositories.map((entry) => entry.toLowerCase()),
  };
}
