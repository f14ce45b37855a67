CREATE TABLE "tasks" ("id" varchar(64) PRIMARY KEY NOT NULL, "kind" varchar(255) NOT NULL, "status" varchar(255) NOT NULL, "progress" double NOT NULL, "message" text, "input" text, "result" text, "errorCode" varchar(255), "errorMessage" text, "attempts" integer NOT NULL, "maxAttempts" integer NOT NULL, "requestedById" varchar(64), "toolId" varchar(64), "ownerId" varchar(64), "cancelRequested" boolean NOT NULL, "createdAt" bigint NOT NULL, "startedAt" bigint, "finishedAt" bigint, "dueAt" bigint NOT NULL, "leaseId" varchar(64))
--
CREATE INDEX "IDX_4c1127fd8a6c26d23fd3f62e78" ON "tasks" ("status", "kind", "dueAt") 
--
CREATE INDEX "IDX_89590e79b9ff6be21603a37c27" ON "tasks" ("toolId", "id") 
--
CREATE INDEX "IDX_28b09ceb7715da52e589800b0c" ON "tasks" ("finishedAt") 
--
CREATE TABLE "task_events" ("sequence" bigint PRIMARY KEY NOT NULL, "at" bigint NOT NULL, "kind" varchar(255) NOT NULL, "subjectId" varchar(64) NOT NULL, "payload" text NOT NULL)
--
CREATE INDEX "IDX_6d3e067ed21d43f13e9b258133" ON "task_events" ("subjectId", "sequence") 
--
CREATE INDEX "IDX_ba8d10711665ab89ba88a370cc" ON "task_events" ("at") 
--
CREATE TABLE "task_event_counter" ("name" varchar(255) PRIMARY KEY NOT NULL, "next" bigint NOT NULL, "trimmedTo" bigint NOT NULL)
