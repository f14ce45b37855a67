DROP INDEX "IDX_0431fad5d394b23d11ef00126c"
--
CREATE TABLE "temporary_tool_versions" ("id" varchar(64) PRIMARY KEY NOT NULL, "toolId" varchar(64) NOT NULL, "number" integer NOT NULL, "name" varchar(255), "description" text, "tags" text, "launch" text, "configSchema" text, "digest" varchar(64) NOT NULL, "changeSummary" text, "source" varchar(255) NOT NULL, "commitSha" varchar(64), "createdById" varchar(64), "createdAt" bigint NOT NULL, "contentId" varchar(64))
--
INSERT INTO "temporary_tool_versions"("id", "toolId", "number", "name", "description", "tags", "launch", "configSchema", "digest", "changeSummary", "source", "commitSha", "createdById", "createdAt") SELECT "id", "toolId", "number", "name", "description", "tags", "launch", "configSchema", "digest", "changeSummary", "source", "commitSha", "createdById", "createdAt" FROM "tool_versions"
--
DROP TABLE "tool_versions"
--
ALTER TABLE "temporary_tool_versions" RENAME TO "tool_versions"
--
CREATE UNIQUE INDEX "IDX_0431fad5d394b23d11ef00126c" ON "tool_versions" ("toolId", "number") 
