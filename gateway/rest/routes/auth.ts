import type { RestRoute } from "../rest-route.ts";

const TAG = "Accounts and credentials";
const PATH = "/api/v1/auth";

export const authRoutes: readonly RestRoute[] = [
  {
    method: "POST",
    path: `${PATH}/register`,
    tag: TAG,
    summary: "Make an account and log in",
    operation: "mutation Register($input: RegisterInput!) { register(input: $input) { ...Session } }",
    status: 201,
    noun: "account",
    isOpen: true,
  },
  {
    method: "POST",
    path: `${PATH}/login`,
    tag: TAG,
    summary: "Log in by password",
    operation:
      "mutation Login($username: String!, $password: String!) { login(username: $username, password: $password) { ...Session } }",
    status: 200,
    noun: "session",
    isOpen: true,
  },
  {
    method: "POST",
    path: `${PATH}/refresh`,
    tag: TAG,
    summary: "Get the next access token and refresh token",
    operation:
      "mutation RefreshSession($refreshToken: String!) { refreshSession(refreshToken: $refreshToken) { ...Session } }",
    status: 200,
    noun: "session",
    isOpen: true,
  },
  {
    method: "POST",
    path: `${PATH}/logout`,
    tag: TAG,
    summary: "End the session of this access token",
    operation: "mutation Logout { logout }",
    status: 204,
    noun: "session",
  },
  {
    method: "POST",
    path: `${PATH}/ticket`,
    tag: TAG,
    summary: "Get a ticket for a browser's stream, which cannot send headers",
    operation: "mutation CreateStreamTicket { createStreamTicket { ...StreamTicket } }",
    status: 201,
    noun: "ticket",
  },
  {
    method: "POST",
    path: `${PATH}/api-keys`,
    tag: TAG,
    summary: "Make an API key; its secret is shown this once",
    operation: "mutation CreateApiKey($input: CreateApiKeyInput!) { createApiKey(input: $input) { ...CreatedApiKey } }",
    status: 201,
    noun: "API key",
  },
  {
    method: "GET",
    path: `${PATH}/api-keys`,
    tag: TAG,
    summary: "List your API keys, revoked ones too",
    operation:
      "query ApiKeys($first: Int, $offset: Int) { me { apiKeys(first: $first, offset: $offset) { ...ApiKey } apiKeyCount } }",
    status: 200,
    at: ["me", "apiKeys"],
    totalAt: ["me", "apiKeyCount"],
    noun: "account",
  },
  {
    method: "DELETE",
    path: `${PATH}/api-keys/{key_id}`,
    tag: TAG,
    summary: "Revoke an API key at once",
    operation: "mutation RevokeApiKey($keyId: ID!) { revokeApiKey(id: $keyId) { id } }",
    status: 204,
    noun: "API key",
  },
];
