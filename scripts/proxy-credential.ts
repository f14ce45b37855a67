/**
 * Prints a PROXY_CREDENTIAL: the token by which the control plane trusts a proxy that runs alone. `npm run --silent proxy-credential --
 * [days]`, 365 unless given, with SECRET_KEY, or the DATA_DIR that the gateway and the subgraphs share. It is a secret: it can ask
 * for every route's tokens. To take it back, change SECRET_KEY.
 */
import { PROXY_PERMISSIONS, createTokenSigner, readSecretKey } from "@toolyard/service-kit";

const days = Number(process.argv[2] ?? 365);
if (!Number.isInteger(days) || days < 1 || days > 3_650) {
  process.stderr.write(
    "The number of days must be a whole number from 1 to 3650, as in: npm run --silent proxy-credential -- 30\n",
  );
  process.exit(1);
}
const secretKey = process.env.SECRET_KEY || (await readSecretKey(process.env.DATA_DIR || "./data"));
const token = await createTokenSigner({ secretKey }).serviceToken("proxy", PROXY_PERMISSIONS, days * 24 * 60 * 60);
process.stdout.write(`${token}\n`);
