// Whether the one part that runs in this container can be used: 0, else 1. The part is known by its port, and the port by who listens there.
import { env } from "node:process";

const { PORT, PROXY_PORT = "4100" } = env;
/** The standalone's and the gateway's come first: the former has a proxy beside it. */
const ports = PORT ? [PORT] : ["4000", "4001", "4002", "4003", "4004", "4005", "4006"];
const urls = [
  ...ports.map((port) => `http://127.0.0.1:${port}/health/ready`),
  `http://127.0.0.1:${PROXY_PORT}/healthz`,
];

for (const url of urls) {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(4_000) });
    end(`${url}: ${response.status} ${await response.text()}`, response.ok ? 0 : 1);
  } catch (error) {
    if (error.cause?.code !== "ECONNREFUSED") end(`${url}: ${error.message}`, 1);
  }
}
end(`Nothing listens on ${[...ports, PROXY_PORT].join(", ")}.`, 1);

function end(words, code) {
  process.stdout.write(`${words}\n`);
  process.exit(code);
}
