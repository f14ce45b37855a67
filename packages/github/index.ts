export { createGitHubClient } from "./github-client.ts";
export { parseGitHubConfig } from "./github-config.ts";
export { createPathFilter } from "./path-filter.ts";
export { openSnapshot } from "./repository-snapshot.ts";
