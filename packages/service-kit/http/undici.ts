/**
 * undici's clients without the rest of it. The whole package also loads its fetch, WebSockets, caches, mocks and interceptors, and Node's
 * own undici besides: 14 MB of every process that only sends requests.
 */
import { createRequire } from "node:module";
import type * as Undici from "undici";

const require = createRequire(import.meta.url);
const dispatcher = require("undici/lib/dispatcher/dispatcher.js") as typeof Undici.Dispatcher;
// As its index does: `request` and `stream` are methods of every client.
Object.assign(dispatcher.prototype, require("undici/lib/api/index.js"));

export const Pool = require("undici/lib/dispatcher/pool.js") as typeof Undici.Pool;
export type Pool = Undici.Pool;
export const buildConnector = require("undici/lib/core/connect.js") as typeof Undici.buildConnector;
export const errors = require("undici/lib/core/errors.js") as typeof Undici.errors;
export type Connector = Undici.buildConnector.connector;
export type ConnectorCallback = Undici.buildConnector.Callback;
