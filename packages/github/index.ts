export { createGitHubClient, type GitHubClient } from "./github-client.ts";
export { parseGitHubConfig, type GitHubConfig } from "./github-config.ts";
export { createPathFilter } from "./path-filter.ts";
export { openSnapshot, type RepositoryFile, type RepositorySnapshot } from "./repository-snapshot.ts";
