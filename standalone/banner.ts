import { SAMPLE_SLUG } from "./sample.ts";

export interface BannerFacts {
  gatewayUrl: string;
  proxyUrl: string;
  /** Where gateway and proxy listen, when that is not where they are reached. */
  behind: { gatewayUrl: string; proxyUrl: string } | null;
  dataDir: string;
  administrator: {
    username: string;
    /** Only when it was made just now. */ generatedPassword: string | null;
    passwordFile: string | null;
  };
  /** Whether the sample tool is registered. */
  sample: boolean;
  /** Who may register, for the line about it. */
  registration: { open: boolean; role: string };
  notes: readonly string[];
}

/** What `npm start` prints once everything answers: where things are, and what to do next, ready to paste. */
export function renderBanner(facts: BannerFacts): string {
  const { gatewayUrl, proxyUrl, behind, administrator, registration } = facts;
  const { username, generatedPassword, passwordFile } = administrator;
  const password = passwordFile === null ? "$ADMIN_PASSWORD" : `$(cat '${passwordFile}')`;
  const lines = [
    "",
    "  Toolyard is ready.",
    "",
    `  Graph     ${gatewayUrl}/graphql      (open it in a browser to explore; subscriptions on the same address)`,
    `  Tools     ${proxyUrl}/mcp/{slug}/v1/mcp`,
    `  Health    ${gatewayUrl}/health       Metrics  ${gatewayUrl}/metrics`,
    ...(behind
      ? [`  Behind    your reverse proxy, which asks ${behind.gatewayUrl}, and for /mcp/ ${behind.proxyUrl}`]
      : []),
    `  Data      ${facts.dataDir}`,
    "",
    generatedPassword === null
      ? `  Log in as ${username}${passwordFile === null ? "" : `; the password is in ${passwordFile}`}.`
      : `  Log in as ${username} with the password ${generatedPassword}\n  (made just now, shown this once, kept in ${passwordFile})`,
    registration.open
      ? `  Registration is open: whoever registers becomes ${registration.role}${registration.role === "VIEWER" ? ", who may look but change and start nothing. An administrator gives DEVELOPER by setUserRole" : ""}.`
      : "  Registration is closed.",
    ...facts.notes.map((note) => `  Note: ${note}`),
    "",
    "  Next, in another terminal:",
    "",
    "  # a token for 15 minutes",
    `  TOKEN=$(curl -s ${gatewayUrl}/graphql -H 'content-type: application/json' \\`,
    `    -d "{\\"query\\":\\"mutation(\\$u:String!,\\$p:String!){login(username:\\$u,password:\\$p){accessToken}}\\",\\"variables\\":{\\"u\\":\\"${username}\\",\\"p\\":\\"${password}\\"}}" \\`,
    `    | sed -E 's/.*"accessToken":"([^"]+)".*/\\1/')`,
    "",
    "  # what is deployed",
    `  curl -s ${gatewayUrl}/graphql -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' \\`,
    `    -d '{"query":"{ tools { edges { node { slug deployments { edges { node { name status health mcpUrl } } } } } } }"}'`,
    "",
    ...(facts.sample
      ? [
          "  # call the sample's tool `echo` through the proxy",
          `  curl -s ${proxyUrl}/mcp/${SAMPLE_SLUG}/v1/mcp -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' \\`,
          `    -H 'accept: application/json, text/event-stream' -H 'mcp-protocol-version: 2026-07-28' -H 'mcp-method: tools/call' -H 'mcp-name: echo' \\`,
          `    -d '${JSON.stringify(ECHO_CALL)}'`,
          "",
        ]
      : []),
    "  # watch deployments live (the subscription `deploymentEvents`); Ctrl-C ends it",
    `  TOKEN=$TOKEN npm run --silent watch -- ${gatewayUrl}`,
    "",
    "  Ctrl-C here stops everything.",
    "",
  ];
  return `${lines.join("\n")}\n`;
}

/** A whole call in one request, as the 2026-07-28 revision of MCP has it: no session, no handshake. */
const ECHO_CALL = {
  jsonrpc: "2.0",
  id: 1,
  method: "tools/call",
  params: {
    name: "echo",
    arguments: { message: "hello" },
    _meta: {
      "io.modelcontextprotocol/protocolVersion": "2026-07-28",
      "io.modelcontextprotocol/clientInfo": { name: "curl", version: "1" },
      "io.modelcontextprotocol/clientCapabilities": {},
    },
  },
};
