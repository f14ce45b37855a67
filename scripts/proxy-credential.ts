/**
 * Prints a PROXY_CREDENTIAL: the token by which the control plane trusts a proxy that runs alone. `npm run --silent proxy-credential --
 * [days]`, 365 unless given, with SECRET_KEY, or the DATA_DIR that the gateway and the subgraphs share; with `--file FILE` it is
 * written there, for PROXY_CREDENTIAL_FILE. It is a secret: it can ask for every route's tokens. To take it back, change SECRET_KEY.
 */
import { rename, writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { ConfigError, PROXY_PERMISSIONS, createTokenSigner, messageOf } from "@toolyard/service-kit";
import { parseSecretKeys } from "@toolyard/service-kit/process/process-config.ts";

const USAGE = "Usage: npm run --silent proxy-credential -- [DAYS, from 1 to 3650] [--file FILE]";

try {
  const { values, positionals } = parseArgs({ options: { file: { type: "string" } }, allowPositionals: true });
  const days = Number(positionals[0] ?? 365);
  if (!Number.isInteger(days) || days < 1 || days > 3_650 || positionals.length > 1) throw new ConfigError(USAGE);
  const [secretKey] = await parseSecretKeys(process.env)(process.env["DATA_DIR"] || "./data");
  const token = await createTokenSigner({ secretKey }).serviceToken("proxy", PROXY_PERMISSIONS, days * 24 * 60 * 60);
  if (values.file === undefined) process.stdout.write(`${token}\n`);
  else {
    // Whole or not at all, for a proxy that starts meanwhile.
    await writeFile(`${values.file}.new`, `${token}\n`, { mode: 0o600 });
    await rename(`${values.file}.new`, values.file);
  }
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = error instanceof ConfigError ? 78 : 1;
}
