CREATE TABLE "github_connections" ("id" varchar(64) PRIMARY KEY NOT NULL, "toolId" varchar(64) NOT NULL, "followerId" varchar(64), "owner" varchar(255) NOT NULL, "repository" varchar(255) NOT NULL, "fullName" varchar(255) NOT NULL, "branch" varchar(255) NOT NULL, "path" varchar(255) NOT NULL, "status" varchar(255) NOT NULL, "lastSyncedCommit" varchar(64), "lastSyncedAt" bigint, "lastError" text, "connectedById" varchar(64) NOT NULL, "createdAt" bigint NOT NULL, "taskId" varchar(64), "runningTaskId" varchar(64), "manifestOid" varchar(64), "manifestTaskId" varchar(64), "manifestVersionId" varchar(64))
--
CREATE UNIQUE INDEX "IDX_c7dd4c151561a211cf2eb6221c" ON "github_connections" ("followerId") 
--
CREATE INDEX "IDX_707de6f531453cdb2548a80bca" ON "github_connections" ("fullName", "branch") 
--
CREATE INDEX "IDX_381ecba11573f68bf14f722b24" ON "github_connections" ("toolId") 
--
CREATE TABLE "github_files" ("connectionId" varchar(64) NOT NULL, "path" varchar(255) NOT NULL, "documentId" varchar(64) NOT NULL, "oid" varchar(64), "digest" varchar(64), PRIMARY KEY ("connectionId", "path"))
--
CREATE TABLE "github_deliveries" ("id" varchar(64) PRIMARY KEY NOT NULL, "receivedAt" bigint NOT NULL, "finished" boolean NOT NULL)
--
CREATE INDEX "IDX_bbbaad05e94a1fcd7cb395e043" ON "github_deliveries" ("receivedAt") 
