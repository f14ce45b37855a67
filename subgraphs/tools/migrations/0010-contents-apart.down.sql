DROP INDEX "IDX_0431fad5d394b23d11ef00126c"
--
ALTER TABLE "tool_versions" RENAME TO "temporary_tool_versions"
--
CREATE TABLE "tool_versions" ("id" varchar(64) PRIMARY KEY NOT NULL, "toolId" varchar(64) NOT NULL, "number" integer NOT NULL, "name" varchar(255) NOT NULL, "description" text NOT NULL, "tags" text NOT NULL, "launch" text NOT NULL, "configSchema" text, "digest" varchar(64) NOT NULL, "changeSummary" text, "source" varchar(255) NOT NULL, "commitSha" varchar(64), "createdById" varchar(64), "createdAt" bigint NOT NULL)
--
INSERT INTO "tool_versions"("id", "toolId", "number", "name", "description", "tags", "launch", "configSchema", "digest", "changeSummary", "source", "commitSha", "createdById", "createdAt") SELECT "id", "toolId", "number", "name", "description", "tags", "launch", "configSchema", "digest", "changeSummary", "source", "commitSha", "createdById", "createdAt" FROM "temporary_tool_versions"
--
DROP TABLE "temporary_tool_versions"
--
CREATE UNIQUE INDEX "IDX_0431fad5d394b23d11ef00126c" ON "tool_versions" ("toolId", "number") 
