import { connect, createServer, type Server, type TcpNetConnectOpts, type IpcNetConnectOpts } from "node:net";
import { pipeline } from "node:stream";

/** Passes each connection on to the target, both ways, with its halves closed as they are. */
export function createRelay(target: TcpNetConnectOpts | IpcNetConnectOpts): Server {
  return createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const other = connect({ ...target, allowHalfOpen: true });
    pipeline(socket, other, socket, () => undefined);
  });
}
