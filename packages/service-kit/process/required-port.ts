import { createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { systemCodeOf, ToolyardError } from "../errors/errors.ts";

/** Its last holder may be about to end, such as the proxy of a Toolyard that was killed. */
const WAIT_MS = 500;
const LOOK_AGAIN_MS = 50;

/**
 * Checks before anything else begins whether this process can listen on its port, so that the error names the variable that sets it.
 * @throws ToolyardError CONFLICT when it cannot
 */
export async function requirePort(variable: string, host: string, port: number): Promise<void> {
  const deadline = Date.now() + WAIT_MS;
  for (;;) {
    const error = await tryToListen(host, port);
    if (error === null) return;
    if (systemCodeOf(error) !== "EADDRINUSE" || Date.now() >= deadline) throw refusal(variable, host, port, error);
    await delay(LOOK_AGAIN_MS);
  }
}

function tryToListen(host: string, port: number): Promise<Error | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", resolve);
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(null)));
  });
}

function refusal(variable: string, host: string, port: number, cause: Error): Error {
  const message = messageFor(systemCodeOf(cause), variable, host, port);
  return message === null ? cause : new ToolyardError("CONFLICT", message, { cause });
}

function messageFor(code: string | null, variable: string, host: string, port: number): string | null {
  switch (code) {
    case "EADDRINUSE":
      return `${variable}: port ${port} is in use. Stop what listens there, or choose another, as in ${variable}=${port < 65_535 ? port + 1 : port - 1}.`;
    case "EACCES":
    case "EPERM":
      return `${variable}: this user may not listen on port ${port}. Choose one above 1023.`;
    case "EADDRNOTAVAIL":
      return `HOST: this machine has no address ${host} to listen on. Choose another.`;
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return `HOST: the host name ${host} cannot be resolved.`;
    default:
      return null;
  }
}
