/** Ends connections to the socket that it inherits, as long as its parent wants and lives. */
import { createServer } from "node:net";
import { INHERITED_FD } from "./listening-socket.ts";

createServer((connection) => connection.resetAndDestroy()).listen({ fd: INHERITED_FD });
process.once("disconnect", () => process.exit());
