CREATE TABLE "tool_texts" ("position" integer PRIMARY KEY AUTOINCREMENT NOT NULL, "toolId" varchar(64) NOT NULL, "deleted" boolean NOT NULL, "text" text NOT NULL)
--
CREATE UNIQUE INDEX "IDX_05c297459da59a6e500995edd2" ON "tool_texts" ("toolId") 
--
INSERT INTO "tool_texts"("toolId", "deleted", "text") SELECT "id", "deletedAt" IS NOT NULL, "searchText" || char(10) FROM "tools" ORDER BY "id"
--
CREATE VIRTUAL TABLE tool_index USING fts5(text, content='', contentless_delete=1, tokenize='trigram case_sensitive 1')
--
INSERT INTO tool_index(rowid, text) SELECT "position", "text" FROM "tool_texts" WHERE NOT "deleted" ORDER BY "position"
--
-- In one piece: what many at once leave is merged by a later write otherwise, which holds the event loop.
INSERT INTO tool_index(tool_index) VALUES ('optimize')
--
CREATE VIRTUAL TABLE deleted_tool_index USING fts5(text, content='', contentless_delete=1, tokenize='trigram case_sensitive 1')
--
INSERT INTO deleted_tool_index(rowid, text) SELECT "position", "text" FROM "tool_texts" WHERE "deleted" ORDER BY "position"
--
-- In one piece: what many at once leave is merged by a later write otherwise, which holds the event loop.
INSERT INTO deleted_tool_index(deleted_tool_index) VALUES ('optimize')
--
DROP INDEX "IDX_c435f7a12371db979e76146f27"
--
CREATE TABLE "temporary_tools" ("id" varchar(64) PRIMARY KEY NOT NULL, "slug" varchar(63) NOT NULL, "name" varchar(255) NOT NULL, "description" text NOT NULL, "tags" text NOT NULL, "authorId" varchar(64), "templateId" varchar(255), "currentVersionId" varchar(64) NOT NULL, "currentNumber" integer NOT NULL, "createdAt" bigint NOT NULL, "updatedAt" bigint NOT NULL, "deletedAt" bigint)
--
INSERT INTO "temporary_tools"("id", "slug", "name", "description", "tags", "authorId", "templateId", "currentVersionId", "currentNumber", "createdAt", "updatedAt", "deletedAt") SELECT "id", "slug", "name", "description", "tags", "authorId", "templateId", "currentVersionId", "currentNumber", "createdAt", "updatedAt", "deletedAt" FROM "tools"
--
DROP TABLE "tools"
--
ALTER TABLE "temporary_tools" RENAME TO "tools"
--
CREATE UNIQUE INDEX "IDX_c435f7a12371db979e76146f27" ON "tools" ("slug") 
--
DROP INDEX "IDX_35930649ded18b09fbfc480f2a"
--
CREATE TABLE "temporary_tool_tags" ("toolId" varchar(64) NOT NULL, "tag" varchar(255) NOT NULL, "deleted" boolean NOT NULL, PRIMARY KEY ("toolId", "tag"))
--
INSERT INTO "temporary_tool_tags"("toolId", "tag", "deleted") SELECT tagged."toolId", tagged."tag", tool."deletedAt" IS NOT NULL FROM "tool_tags" tagged JOIN "tools" tool ON tool."id" = tagged."toolId"
--
DROP TABLE "tool_tags"
--
ALTER TABLE "temporary_tool_tags" RENAME TO "tool_tags"
--
CREATE INDEX "IDX_35930649ded18b09fbfc480f2a" ON "tool_tags" ("tag", "toolId") 
--
CREATE INDEX "IDX_65924a7ddbdaa500750715b21e" ON "tool_tags" ("tag", "deleted", "toolId") 
--
CREATE INDEX "IDX_9170245482c365b622d56b7240" ON "tools" ("id", "deletedAt") WHERE "deletedAt" IS NULL
