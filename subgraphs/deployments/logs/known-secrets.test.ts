import { createSecretMask } from "@toolyard/service-kit/secret-mask.ts";
import { expect, test } from "vitest";
import { hostSecretsOf } from "./known-secrets.ts";

test.each([
  ["a token", "SOME_TOKEN", "t0ken-of-some", "t0ken-of-some"],
  ["a short password", "DB_PASSWORD", "s3cr!", "s3cr!"],
  ["a short password in a URL", "HTTPS_PROXY", "http://user:s3cr!@proxy.example:3128", "s3cr!"],
  ["a password with an @", "DATABASE_URL", "postgres://user:s3@cret@db.example/x", "s3@cret"],
  ["an encoded password", "HTTPS_PROXY", "http://user:p%40ssw@proxy.example", "p@ssw"],
  ["a token in place of a user", "PIP_INDEX_URL", "https://t0ken@packages.example/simple", "t0ken"],
  ["a token with an empty password", "NPM_REGISTRY", "https://t0ken:@packages.example", "t0ken"],
  ["one of several URLs", "MIRRORS", "https://one.example,https://t0ken@two.example", "t0ken"],
])("%s of the host's environment is hidden by itself", (_what, name, value, secret) => {
  expect(createSecretMask(hostSecretsOf({ [name]: value })).text(`refused for ${secret}.`)).toBe("refused for ***.");
});

test("nothing else of it is hidden", () => {
  const env = {
    TOKEN_TYPE: "Bearer",
    API_KEY_FILE: "/run/secrets/key",
    DATABASE_URL: "mysql://toolyard@db.example/x",
    HTTPS_PROXY: "http://user:s3cret@proxy.example:3128",
    PACKAGES: "https://packages.example/@scope/name?for=a@b.example",
  };
  const text = "Bearer /run/secrets/key toolyard user proxy.example packages.example @scope a@b.example";
  expect(createSecretMask(hostSecretsOf(env)).text(text)).toBe(text);
});
