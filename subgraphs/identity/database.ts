import { join } from "node:path";
import { eventLogSchema } from "@toolyard/events";
import { jobEntity } from "@toolyard/scheduler";
import { column } from "@toolyard/storage";
import { EntitySchema } from "typeorm";
import type { ApiKey, LoginSession, RefreshToken, StreamTicket, User } from "./identity-store.ts";

export interface UserRow extends User {
  /** Lower case; what makes usernames unique without case. */
  usernameKey: string;
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

export const sessions = new EntitySchema<LoginSession>({
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

export const refreshTokens = new EntitySchema<RefreshToken>({
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

export const apiKeys = new EntitySchema<ApiKey>({
  name: "api_keys",
  columns: {
    id: { ...column.primaryId },
    ownerId: { ...column.id },
    name: { ...column.name },
    scopes: { ...column.json },
    toolIds: { ...column.nullableJson },
    hash: { ...column.id },
    createdAt: { ...column.time },
    lastUsedAt: { ...column.nullableTime },
    expiresAt: { ...column.nullableTime },
    revokedAt: { ...column.nullableTime },
  },
  indices: [{ columns: ["ownerId", "id"] }],
});

export const streamTickets = new EntitySchema<StreamTicket>({
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
  jobEntity,
].map((entity) => entity as EntitySchema); // the list only needs to know that they are entities

export const migrationsFolder = join(import.meta.dirname, "migrations");
