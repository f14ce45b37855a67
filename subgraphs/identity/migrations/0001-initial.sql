CREATE TABLE "users" ("id" varchar(64) PRIMARY KEY NOT NULL, "username" varchar(255) NOT NULL, "usernameKey" varchar(255) NOT NULL, "email" varchar(255), "role" varchar(255) NOT NULL, "disabled" boolean NOT NULL, "passwordHash" varchar(255) NOT NULL, "passwordExpiresAt" bigint, "createdAt" bigint NOT NULL, CONSTRAINT "UQ_fddaf46b524fa6c88ac581ce8c4" UNIQUE ("usernameKey"))
--
CREATE INDEX "IDX_ace513fa30d485cfd25c11a9e4" ON "users" ("role") 
--
CREATE TABLE "sessions" ("id" varchar(64) PRIMARY KEY NOT NULL, "userId" varchar(64) NOT NULL, "passwordAt" bigint NOT NULL, "createdAt" bigint NOT NULL, "expiresAt" bigint NOT NULL, "revokedAt" bigint)
--
CREATE INDEX "IDX_57de40bc620f456c7311aa3a1e" ON "sessions" ("userId") 
--
CREATE INDEX "IDX_50762206f116cd47d1c3fec396" ON "sessions" ("expiresAt") 
--
CREATE TABLE "refresh_tokens" ("hash" varchar(64) PRIMARY KEY NOT NULL, "sessionId" varchar(64) NOT NULL, "accessTokenId" varchar(64) NOT NULL, "issuedAt" bigint NOT NULL, "usedAt" bigint, CONSTRAINT "UQ_55e00528f3e7b3c6ae2a042bd86" UNIQUE ("accessTokenId"))
--
CREATE INDEX "IDX_b25a58a00578bd1b7a01623d2d" ON "refresh_tokens" ("sessionId") 
--
CREATE TABLE "api_keys" ("id" varchar(64) PRIMARY KEY NOT NULL, "ownerId" varchar(64) NOT NULL, "name" varchar(255) NOT NULL, "scopes" text NOT NULL, "hash" varchar(64) NOT NULL, "createdAt" bigint NOT NULL, "lastUsedAt" bigint, "expiresAt" bigint, "revokedAt" bigint)
--
CREATE INDEX "IDX_fecb5973ea7fc35f94d4637817" ON "api_keys" ("ownerId") 
--
CREATE TABLE "stream_tickets" ("id" varchar(64) PRIMARY KEY NOT NULL, "hash" varchar(64) NOT NULL, "userId" varchar(64) NOT NULL, "tokenId" varchar(64), "tokenIssuedAt" bigint, "apiKeyId" varchar(64), "credentialExpiresAt" bigint, "expiresAt" bigint NOT NULL)
--
CREATE INDEX "IDX_4fb8558291f9aae8fa81bc635f" ON "stream_tickets" ("userId") 
--
CREATE INDEX "IDX_9701154757efdf3d23cb3e6bd6" ON "stream_tickets" ("expiresAt") 
--
CREATE TABLE "revocation_events" ("sequence" bigint PRIMARY KEY NOT NULL, "at" bigint NOT NULL, "kind" varchar(255) NOT NULL, "subjectId" varchar(64) NOT NULL, "payload" text NOT NULL)
--
CREATE INDEX "IDX_5ba6ed8b123415e0d68fb44fe4" ON "revocation_events" ("subjectId", "sequence") 
--
CREATE INDEX "IDX_4290eb359bcc37314d0e8dc988" ON "revocation_events" ("at") 
--
CREATE TABLE "revocation_event_counter" ("name" varchar(255) PRIMARY KEY NOT NULL, "next" bigint NOT NULL, "trimmedTo" bigint NOT NULL)
