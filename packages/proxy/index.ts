export { createProxy, type Proxy } from "./proxy.ts";
export { parseProxyConfig, type ProxyConfig } from "./config.ts";
