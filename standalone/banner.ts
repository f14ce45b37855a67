import { DEFAULT_USERNAME } from "../cli/defaults.ts";
import { SAMPLE_SLUG } from "./sample.ts";

export interface BannerFacts {
  gatewayUrl: string;
  proxyUrl: string;
  /** The addresses on which gateway and proxy listen, when they differ from their URLs. */
  behind: { gatewayUrl: string; proxyUrl: string } | null;
  /** Further lines about the installation, by what they are of. */
  extra: Readonly<Record<string, string>>;
  /** Whether a browser gets GraphiQL. */
  introspection: boolean;
  dataDir: string;
  /** Those that keep data beside it, by name. */
  servers: readonly string[];
  /** Whether commands use this folder by default. */
  isDefaultDataDir: boolean;
  administrator: {
    username: string;
    /** Only when it was made just now. */
    generatedPassword: string | null;
    /** Only as long as the password in it is right. */
    passwordFile: string | null;
  };
  /** Whether the sample tool is registered. */
  sample: boolean;
  /** The users who may register, for the line about it. */
  registration: { open: boolean; role: string };
  notes: readonly string[];
}

/** The output of `npm start` once everything answers: the addresses, and the next steps, ready to paste. */
export function renderBanner(facts: BannerFacts): string {
  const { gatewayUrl, proxyUrl, behind, administrator, registration } = facts;
  const { username, generatedPassword, passwordFile } = administrator;
  const inDataDir = facts.isDefaultDataDir ? "" : `DATA_DIR=${shellWord(facts.dataDir)} `;
  const asAdministrator = username === DEFAULT_USERNAME ? "" : `ADMIN_USERNAME=${shellWord(username)} `;
  const lines = [
    "",
    "  Toolyard is ready.",
    "",
    `  Graph     ${gatewayUrl}/graphql      (${facts.introspection ? "open it in a browser to explore" : "for programs: INTROSPECTION=true has a page to explore it"}; subscriptions on the same address)`,
    `  REST      ${gatewayUrl}/api/docs     (to read and to try in a browser)`,
    `  Tools     ${proxyUrl}/mcp/{slug}/v1/mcp`,
    `  Health    ${gatewayUrl}/health       Metrics  ${gatewayUrl}/metrics`,
    ...(behind
      ? [`  Behind    your reverse proxy, which asks ${behind.gatewayUrl}, and for /mcp/ ${behind.proxyUrl}`]
      : []),
    ...Object.entries(facts.extra).map(([of, text]) => `  ${of.padEnd(9)} ${text}`),
    `  Data      ${facts.dataDir}${facts.servers.length === 0 ? "" : `, and in ${facts.servers.join(" and ")}`}`,
    "",
    generatedPassword === null
      ? `  Log in as ${username}${passwordFile === null ? "" : `; the password is in ${passwordFile}`}.`
      : `  Log in as ${username} with the password ${generatedPassword}\n  (made just now, shown this once, kept in ${passwordFile})`,
    ...(passwordFile === null
      ? [`  Where the password is lost, a new one: ${inDataDir}npm run reset-password -- ${username}`]
      : []),
    registration.open
      ? `  Registration is open: whoever registers becomes ${registration.role}${registration.role === "VIEWER" ? ", who may look but change and start nothing. An administrator makes one a developer: npm run toolyard -- set-role NAME developer" : "."}`
      : "  Registration is closed.",
    ...facts.notes.map((note) => `  Note: ${note}`),
    "",
    "  Next, in another terminal:",
    "",
    `  ${inDataDir}${asAdministrator}npm run toolyard -- login`,
    ...(facts.sample ? [`  npm run toolyard -- call ${SAMPLE_SLUG} echo '{"message":"hello"}'`] : []),
    "  npm run toolyard -- register NAME -- COMMAND …    # a server of your own: node server.mjs, npx -y PACKAGE, uvx PACKAGE",
    "  npm run toolyard -- deploy NAME",
    "  npm run toolyard -- --help",
    "",
    "  Ctrl-C here stops everything.",
    "",
  ];
  return `${lines.join("\n")}\n`;
}

/** A text as one word of a shell's. */
function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
