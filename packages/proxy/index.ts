export { createProxy, type Proxy } from "./proxy.ts";
export { parseProxyConfig } from "./config.ts";
