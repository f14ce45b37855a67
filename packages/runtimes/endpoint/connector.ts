import { connect, type Socket } from "node:net";
import { isProof, newNonce, PROOF_PATH } from "@toolyard/bridge/proof.ts";
import { buildConnector, type Connector, type ConnectorCallback } from "@toolyard/service-kit/http/undici.ts";
import { toError } from "@toolyard/service-kit/errors/errors.ts";
import { createListenerCheck, type ListenerCheck } from "./listener.ts";
import { withShortPath } from "@toolyard/service-kit/process/presence.mjs";
import { socketPathOf } from "./socket-path.ts";

/** A replica as whoever calls it must know it. */
export interface Callee {
  /** `http://host:port`, or `unix:` and the path of a socket. */
  url: string;
  /** Of a bridge, which proves that it knows it before it is sent; "" for what has none. Secret. */
  token: string;
  /** Whose the listener must be, by `processOwner`; null where nobody else could have the socket. */
  owner: string | null;
}

/** Nothing was sent to what listens there: it is not the replica, or does not prove that it is. */
export class ImpostorError extends Error {
  override readonly name = "ImpostorError";
  readonly code = "ERR_REPLICA_IMPOSTOR";
}

const PROOF_TIMEOUT_MS = 5_000;
const MAX_HEAD_BYTES = 4_096;
/** A burst of connections may find the socket's queue full. */
const QUEUE_FULL_WAIT_MS = 10;

/** The origin by which undici asks for paths at the replica. */
export function originOf({ url }: Pick<Callee, "url">): string {
  return socketPathOf(url) === null ? new URL(url).origin : "http://localhost";
}

/** Opens connections, each of which is the replica's: undici sends nothing over one before. */
export function connectorTo(
  callee: Callee,
  options: { timeoutMs?: number; listeners?: ListenerCheck } = {},
): Connector {
  const { timeoutMs = PROOF_TIMEOUT_MS, listeners = sharedCheck } = options;
  const path = socketPathOf(callee.url);
  const open: Connector =
    path === null
      ? buildConnector({ timeout: timeoutMs })
      : (_, done) => openSocket(path, performance.now() + timeoutMs, done);
  const { token, owner } = callee;
  if (token === "" && owner === null) return open;
  const port = path === null ? Number(new URL(callee.url).port || 80) : 0;
  return (target, done) =>
    open(target, (...[error, socket]) => {
      if (error) return done(error, null);
      const fail = (reason: Error): void => {
        socket.destroy();
        done(reason, null);
      };
      // Looked at once the connection stands: a stranger who listened until now would still be there, or be gone.
      const found = owner === null ? "OWN" : listeners.ownerOf(port, owner);
      if (found === "FOREIGN")
        return fail(new ImpostorError("Another process of this host listens at the replica's address."));
      if (found === "NONE") return fail(new ImpostorError("Nothing listens at the replica's address any more."));
      if (token === "") return done(null, socket);
      prove(socket, token, timeoutMs, (reason) => (reason ? fail(reason) : done(null, socket)));
    });
}

const sharedCheck = createListenerCheck();

function openSocket(path: string, deadline: number, done: ConnectorCallback): void {
  let socket: Socket;
  try {
    socket = withShortPath(path, (short) => connect({ path: short }));
  } catch (error) {
    // The replica's folder is gone.
    done(toError(error), null);
    return;
  }
  const onError = (error: NodeJS.ErrnoException): void => {
    socket.destroy();
    if (error.code !== "EAGAIN" || performance.now() > deadline) done(error, null);
    else setTimeout(openSocket, QUEUE_FULL_WAIT_MS, path, deadline, done);
  };
  socket.once("error", onError).once("connect", () => {
    socket.off("error", onError);
    done(null, socket);
  });
}

/** Asks what is at the other end to prove that it knows the token. Calls back with null when it did. */
function prove(socket: Socket, token: string, timeoutMs: number, done: (reason: Error | null) => void): void {
  const nonce = newNonce();
  let received = "";
  const end = (reason: Error | null): void => {
    clearTimeout(timer);
    socket.off("readable", onReadable).off("error", end).off("close", onClose);
    done(reason);
  };
  const onClose = (): void => end(new Error("It closed the connection."));
  const onReadable = (): void => {
    // undici takes the socket over as it is: nothing but the proof may have been read, and it must not flow.
    for (let chunk = readOf(socket); chunk !== null; chunk = readOf(socket)) received += chunk.toString("latin1");
    const head = received.indexOf("\r\n\r\n");
    if (head === -1) {
      if (received.length > MAX_HEAD_BYTES) end(notProven());
      return;
    }
    const length = /\r\ncontent-length: (\d+)\r\n/i.exec(received.slice(0, head + 2))?.[1];
    const answered = received.slice(head + 4);
    if (!received.startsWith("HTTP/1.1 200 ") || length === undefined || Number(length) > MAX_HEAD_BYTES)
      return end(notProven());
    if (answered.length < Number(length)) return;
    end(answered.length === Number(length) && isProof(token, nonce, answered) ? null : notProven());
  };
  const timer = setTimeout(
    () => end(new Error("The process at the replica's address did not prove in time that it is the replica.")),
    timeoutMs,
  );
  socket.on("readable", onReadable).on("error", end).on("close", onClose);
  socket.write(`GET ${PROOF_PATH}?nonce=${nonce} HTTP/1.1\r\nhost: localhost\r\n\r\n`);
}

/** Without an encoding a socket reads Buffers. */
function readOf(socket: Socket): Buffer | null {
  return socket.read() as Buffer | null;
}

function notProven(): ImpostorError {
  return new ImpostorError("The process that listens at the replica's address does not prove that it is the replica.");
}
