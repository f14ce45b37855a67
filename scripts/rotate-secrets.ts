/** `npm run rotate-secrets`: another SECRET_KEY, and all that is sealed with it. docs/operating.md says what else changes. */
import { existsSync } from "node:fs";
import { messageOf, preconditionFailed } from "@toolyard/service-kit";
import { createResealer } from "@toolyard/service-kit/identity/resealing.ts";
import { forgetPreviousKey, replaceSecretKey } from "@toolyard/service-kit/identity/secret-key.ts";
import { givenSecretKey, parseSecretKeys } from "@toolyard/service-kit/process/process-config.ts";
import { requireSameKey } from "@toolyard/storage";
import { unopenedIn } from "@toolyard/storage/reseal.ts";
import { requireBelonging } from "./copying/belonging.ts";
import { alone, readInstallation, resealStores } from "./installation.ts";

const USAGE = `Usage: npm run rotate-secrets

Where DATA_DIR keeps the key, makes a new one and seals everything with it. Where SECRET_KEY is set, seals with that
everything that SECRET_KEY_PREVIOUS has sealed; DATABASE_URL and MONGODB_URL say which servers have it. Toolyard is to be stopped. Killed or interrupted, it goes on when it is
run again; Toolyard starts meanwhile, too.
`;

if (process.argv.length > 2) {
  process.stderr.write(USAGE);
  process.exit(2);
}
const say = (line: string) => void process.stdout.write(`${line}\n`);
const stopping = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const)
  process.on(name, () => stopping.abort(new Error("It was interrupted: run it again, and it goes on.")));
try {
  const readKeys = parseSecretKeys(process.env);
  const isOwn = givenSecretKey(process.env) === null;
  const installation = await readInstallation();
  const { dataDir } = installation;
  if (isOwn && !existsSync(dataDir))
    throw preconditionFailed(
      "data-directory",
      `There is no ${dataDir} with a key in it. Say by DATA_DIR where it is, or set SECRET_KEY.`,
    );
  await alone(installation, async () => {
    await requireBelonging(installation);
    if (isOwn) await replaceSecretKey(dataDir);
    const [secretKey, ...previousSecretKeys] = await readKeys(dataDir);
    if (previousSecretKeys.length === 0)
      throw preconditionFailed("secret-key", "Give SECRET_KEY_PREVIOUS the key that SECRET_KEY replaces.");
    if (previousSecretKeys.every((key) => key === secretKey))
      throw preconditionFailed(
        "secret-key",
        "SECRET_KEY and SECRET_KEY_PREVIOUS are the same key, so nothing would change. A shell sets variables from left to right: " +
          "in `SECRET_KEY=NEW SECRET_KEY_PREVIOUS=$SECRET_KEY` both are NEW. Write SECRET_KEY_PREVIOUS first, or the old key itself.",
      );
    await requireSameKey({ ...installation, isAlone: true }, [secretKey, ...previousSecretKeys]);
    const resealer = createResealer({ secretKey, previousSecretKeys });
    const found = await resealStores(installation, resealer, { signal: stopping.signal, say });
    // Everything that it opens is sealed with the new key now.
    if (isOwn) await forgetPreviousKey(dataDir);
    const { count, columns } = unopenedIn(found);
    if (count > 0)
      throw preconditionFailed(
        "secret-key",
        `${count} values open with neither key (${columns}); give the right SECRET_KEY_PREVIOUS and run this again. ` +
          `Nothing is lost: they are as they were, ${found.resealed} others were sealed anew. Keep every earlier key until this succeeds.`,
      );
    say(`${found.resealed} values were sealed anew: all are sealed with the new key.`);
    say(isOwn ? "Start Toolyard again." : "Start Toolyard again, without SECRET_KEY_PREVIOUS.");
    say("Proxies that run alone need a new PROXY_CREDENTIAL: npm run --silent proxy-credential");
  });
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exit(1);
}
