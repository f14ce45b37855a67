CREATE TABLE "tools" ("id" varchar(64) PRIMARY KEY NOT NULL, "slug" varchar(63) NOT NULL, "name" varchar(255) NOT NULL, "description" text NOT NULL, "tags" text NOT NULL, "searchText" text NOT NULL, "authorId" varchar(64), "templateId" varchar(255), "currentVersionId" varchar(64) NOT NULL, "currentNumber" integer NOT NULL, "createdAt" bigint NOT NULL, "updatedAt" bigint NOT NULL, "deletedAt" bigint)
--
CREATE UNIQUE INDEX "IDX_c435f7a12371db979e76146f27" ON "tools" ("slug") 
--
CREATE TABLE "tool_tags" ("toolId" varchar(64) NOT NULL, "tag" varchar(255) NOT NULL, PRIMARY KEY ("toolId", "tag"))
--
CREATE INDEX "IDX_35930649ded18b09fbfc480f2a" ON "tool_tags" ("tag", "toolId") 
--
CREATE TABLE "tool_versions" ("id" varchar(64) PRIMARY KEY NOT NULL, "toolId" varchar(64) NOT NULL, "number" integer NOT NULL, "name" varchar(255) NOT NULL, "description" text NOT NULL, "tags" text NOT NULL, "launch" text NOT NULL, "configSchema" text, "digest" varchar(64) NOT NULL, "changeSummary" text, "source" varchar(255) NOT NULL, "commitSha" varchar(64), "createdById" varchar(64), "createdAt" bigint NOT NULL)
--
CREATE UNIQUE INDEX "IDX_0431fad5d394b23d11ef00126c" ON "tool_versions" ("toolId", "number") 
--
CREATE TABLE "tool_events" ("sequence" bigint PRIMARY KEY NOT NULL, "at" bigint NOT NULL, "kind" varchar(255) NOT NULL, "subjectId" varchar(64) NOT NULL, "payload" text NOT NULL)
--
CREATE INDEX "IDX_87e16c0146832a5b6a6c82c919" ON "tool_events" ("subjectId", "sequence") 
--
CREATE INDEX "IDX_019e31af3ece46c3bae03ecde5" ON "tool_events" ("at") 
--
CREATE TABLE "tool_event_counter" ("name" varchar(255) PRIMARY KEY NOT NULL, "next" bigint NOT NULL, "trimmedTo" bigint NOT NULL)
