import { join } from "node:path";
import { eventLogSchema } from "@toolyard/events";
import type { Role, Scope } from "@toolyard/service-kit";
import { column } from "@toolyard/storage";
import { EntitySchema } from "typeorm";

export interface UserRow {
  id: string;
  username: string;
  /** Lower case; what makes usernames unique without case. */
  usernameKey: string;
  email: string | null;
  role: Role;
  disabled: boolean;
  passwordHash: string;
  passwordExpiresAt: number | null;
  createdAt: number;
}

export interface SessionRow {
  id: string;
  userId: string;
  passwordAt: number;
  createdAt: number;
  expiresAt: number;
  revokedAt: number | null;
}

export interface RefreshTokenRow {
  /** SHA-256 of the token, hex. */
  hash: string;
  sessionId: string;
  accessTokenId: string;
  issuedAt: number;
  usedAt: number | null;
}

export interface ApiKeyRow {
  id: string;
  ownerId: string;
  name: string;
  scopes: Scope[];
  /** SHA-256 of the whole key, hex. */
  hash: string;
  createdAt: number;
  lastUsedAt: number | null;
  expiresAt: number | null;
  revokedAt: number | null;
}

export interface StreamTicketRow {
  id: string;
  /** SHA-256 of the whole ticket, hex. */
  hash: string;
  userId: string;
  tokenId: string | null;
  tokenIssuedAt: number | null;
  apiKeyId: string | null;
  credentialExpiresAt: number | null;
  expiresAt: number;
}

export const users = new EntitySchema<UserRow>({
  name: "users",
  columns: {
    id: { ...column.primaryId },
    username: { ...column.name },
    usernameKey: { ...column.name, unique: true },
    email: { ...column.nullableName },
    role: { ...column.name },
    disabled: { ...column.flag },
    passwordHash: { ...column.name },
    passwordExpiresAt: { ...column.nullableTime },
    createdAt: { ...column.time },
  },
  indices: [{ columns: ["role"] }],
});

export const sessions = new EntitySchema<SessionRow>({
  name: "sessions",
  columns: {
    id: { ...column.primaryId },
    userId: { ...column.id },
    passwordAt: { ...column.time },
    createdAt: { ...column.time },
    expiresAt: { ...column.time },
    revokedAt: { ...column.nullableTime },
  },
  indices: [
    { columns: ["userId", "id"] },
    { columns: ["expiresAt"] },
    { columns: ["expiresAt", "revokedAt"], where: '"revokedAt" IS NULL' },
  ],
});

export const refreshTokens = new EntitySchema<RefreshTokenRow>({
  name: "refresh_tokens",
  columns: {
    hash: { ...column.primaryId },
    sessionId: { ...column.id },
    accessTokenId: { ...column.id, unique: true },
    issuedAt: { ...column.time },
    usedAt: { ...column.nullableTime },
  },
  indices: [{ columns: ["sessionId", "issuedAt"] }],
});

export const apiKeys = new EntitySchema<ApiKeyRow>({
  name: "api_keys",
  columns: {
    id: { ...column.primaryId },
    ownerId: { ...column.id },
    name: { ...column.name },
    scopes: { ...column.json },
    hash: { ...column.id },
    createdAt: { ...column.time },
    lastUsedAt: { ...column.nullableTime },
    expiresAt: { ...column.nullableTime },
    revokedAt: { ...column.nullableTime },
  },
  indices: [{ columns: ["ownerId", "id"] }],
});

export const streamTickets = new EntitySchema<StreamTicketRow>({
  name: "stream_tickets",
  columns: {
    id: { ...column.primaryId },
    hash: { ...column.id },
    userId: { ...column.id },
    tokenId: { ...column.nullableId },
    tokenIssuedAt: { ...column.nullableTime },
    apiKeyId: { ...column.nullableId },
    credentialExpiresAt: { ...column.nullableTime },
    expiresAt: { ...column.time },
  },
  indices: [{ columns: ["userId"] }, { columns: ["tokenId"] }, { columns: ["apiKeyId"] }, { columns: ["expiresAt"] }],
});

export const revocationLogSchema = eventLogSchema("revocation");

export const entities: EntitySchema[] = [
  users,
  sessions,
  refreshTokens,
  apiKeys,
  streamTickets,
  revocationLogSchema.events,
  revocationLogSchema.counter,
].map((entity) => entity as EntitySchema); // the list only needs to know that they are entities

export const migrationsFolder = join(import.meta.dirname, "migrations");
