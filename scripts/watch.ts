/**
 * Prints deployment events as they come: `TOKEN=… npm run watch -- [URL of the gateway] [sequence to go on after]`.
 * When the stream breaks it says how to go on from the last event seen.
 */
import { createClient } from "graphql-ws";
import { WebSocket } from "ws";

const [url = "http://127.0.0.1:4000", start] = process.argv.slice(2);
const token = process.env.TOKEN;
if (!token) {
  process.stderr.write("Set TOKEN to an access token or an API key; the banner of `npm start` shows how to get one.\n");
  process.exit(1);
}
type Event = {
  deploymentEvents: {
    sequence: string;
    at: string;
    kind: string;
    message: string;
    status: string;
    health: string;
    deployment: { name: string } | null;
  };
};
const query =
  "subscription ($after: String) { deploymentEvents(after: $after) { sequence at kind message status health deployment { name } } }";
let after: string | null = start ?? null;

const client = createClient({
  url: `${url.replace(/^http/, "ws").replace(/\/$/, "")}/graphql`,
  webSocketImpl: WebSocket,
  connectionParams: { authorization: `Bearer ${token}` },
  retryAttempts: 0,
});
process.once("SIGINT", () => void client.dispose());
process.stdout.write(`Watching ${url}${after === null ? "" : ` from ${after}`} …\n`);
try {
  for await (const { data, errors } of client.iterate<Event>({ query, variables: { after } })) {
    if (errors) throw new Error(errors.map(({ message }) => message).join("\n"));
    if (!data) continue;
    const { sequence, at, kind, message, status, health, deployment } = data.deploymentEvents;
    after = sequence;
    process.stdout.write(`${at}  #${sequence}  ${deployment?.name ?? "?"}  ${status}/${health}  ${kind}: ${message}\n`);
  }
} catch (error) {
  // graphql-ws throws the socket's close event when the server refuses or goes away.
  const closed =
    error instanceof Object && "reason" in error && typeof error.reason === "string" && error.reason !== ""
      ? error.reason
      : null;
  const reason = error instanceof Error ? error.message : (closed ?? "the connection broke");
  process.stderr.write(
    `The stream ended: ${reason}.${after === null ? "" : ` Go on with: npm run watch -- ${url} ${after}`}\n`,
  );
  process.exitCode = 1;
}
