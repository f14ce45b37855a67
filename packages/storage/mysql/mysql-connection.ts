import { ConfigError, messageOf, systemCodeOf } from "@toolyard/service-kit";
import { bareHost } from "@toolyard/service-kit/http/hosts.ts";
import type { ConnectionOptions } from "mysql2";
import type { MysqlOptions } from "../database.ts";

const CONNECT_MS = 5_000;

/** As mysql2 takes them. */
export function connectionOptions({ url, ca = null }: Pick<MysqlOptions, "url" | "ca">) {
  const { hostname, port, username, password, pathname, searchParams } = new URL(url);
  return {
    host: bareHost(hostname),
    port: Number(port || 3306),
    user: decodeURIComponent(username),
    password: decodeURIComponent(password),
    database: pathname.slice(1),
    ...((ca !== null || searchParams.get("tls") === "true") && { ssl: ca === null ? {} : { ca } }),
    connectTimeout: CONNECT_MS,
    charset: "utf8mb4",
  } satisfies ConnectionOptions;
}

/** Why a server cannot be used, in words of ours: the driver's may repeat a part of the URL. */
export function refusalOf(error: unknown, url: string): ConfigError {
  return new ConfigError(`DATABASE_URL: ${whyUnusable(error, new URL(url).pathname.slice(1))}`, { cause: error });
}

function whyUnusable(error: unknown, name: string): string {
  const code = systemCodeOf(error) ?? "it closed the connection";
  if (code === "ER_BAD_DB_ERROR")
    return `the server has no database ${JSON.stringify(name)}. Make it, as in: CREATE DATABASE ${name}`;
  if (/^ER_(TABLE|COLUMN|SPECIFIC_)ACCESS_DENIED/.test(code))
    return `its user may not do all that Toolyard does in the database ${JSON.stringify(name)} (${deniedIn(error)}). Grant it, as in: GRANT ALL ON ${name}.* TO …`;
  if (code.startsWith("ER_TABLE_EXISTS"))
    return `a table that Toolyard makes already exists in the database ${JSON.stringify(name)}, as another program's. Name a database that is empty.`;
  if (code === "ER_DBACCESS_DENIED_ERROR")
    return `its user may not use the database ${JSON.stringify(name)}. Grant it, as in: GRANT ALL ON ${name}.* TO …`;
  if (/^ER_(ACCESS_DENIED|NOT_SUPPORTED_AUTH|MUST_CHANGE_PASSWORD)/.test(code))
    return `the server refuses its user or password (${code}).`;
  if (code === "HANDSHAKE_NO_SSL_SUPPORT")
    return `the server has no TLS (${code}). Set that up there, or leave tls=true out.`;
  if (/CERT|SSL|TLS|ALTNAME|ISSUER/.test(code))
    return `the server's certificate or TLS cannot be used (${code}). DATABASE_CA_FILE names certificates to trust.`;
  if (code === "ECONNREFUSED") return `nothing listens at its host and port (${code}).`;
  if (code === "ENOTFOUND") return `its host name is not known (${code}).`;
  return `the server that it names cannot be used (${code}).`;
}

/** What the server denies, without what its message says of user and host. */
function deniedIn(error: unknown): string {
  return /\b([A-Z][A-Z, ]*) command denied/.exec(messageOf(error))?.[1] ?? "a privilege is missing";
}
