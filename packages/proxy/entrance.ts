import type { IncomingMessage } from "node:http";
import { ToolyardError, type Caller } from "@toolyard/service-kit";
import type { RequestHead } from "./calls/request-head.ts";
import { siteOf, type Site } from "./site.ts";

/** The way by which a call came: directly, or passed on by the gateway. */
export interface Entrance {
  /** Where the client's connection comes from. */
  clientAddress: string;
  site: Site;
}

/** Tells the gateway's calls from those of everybody else who sends its headers. */
export function createEntrances(options: {
  /** The site of calls that come directly. */
  site: Site;
  authenticate: (authorization: string | undefined) => Caller | Promise<Caller>;
}): (request: IncomingMessage, head: RequestHead) => Entrance | Promise<Entrance> {
  const { site, authenticate } = options;
  /** Of the gateway's calls: all of them have one. */
  let passed = { publicUrl: null as string | null, site: siteOf(null) };

  function admit(head: RequestHead, caller: Caller): Entrance {
    caller.require("internal:passage");
    const { clientHost, clientUpgrade, clientAddress = "", publicUrl = null } = head;
    head.host = clientHost;
    head.upgrade = clientUpgrade;
    if (passed.publicUrl !== publicUrl) passed = { publicUrl, site: siteOf(publicUrl) };
    return { clientAddress, site: passed.site };
  }

  /**
   * Of a passed call, the head is made to say what the client's said.
   * @throws ToolyardError UPSTREAM_UNAVAILABLE, at once or by the promise, for the gateway's headers without its token
   */
  return (request, head) => {
    const { gatewayToken } = head;
    if (gatewayToken === undefined) return { clientAddress: request.socket.remoteAddress ?? "", site };
    try {
      const caller = authenticate(`Bearer ${gatewayToken}`);
      if (!(caller instanceof Promise)) return admit(head, caller);
      return caller.then((found) => admit(head, found)).catch(refuse);
    } catch (error) {
      return refuse(error);
    }
  };
}

/** A 401 or 403 would tell the client that its own credential is refused. */
function refuse(cause: unknown): never {
  const message =
    "This call says that the gateway passes it on, and the gateway's token was not accepted. Gateway and proxy need the same SECRET_KEY behind them.";
  throw new ToolyardError("UPSTREAM_UNAVAILABLE", message, { cause, retryAfterSeconds: 5 });
}
