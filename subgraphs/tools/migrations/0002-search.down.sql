DROP INDEX "IDX_9170245482c365b622d56b7240"
--
DROP INDEX "IDX_65924a7ddbdaa500750715b21e"
--
ALTER TABLE "tool_tags" DROP COLUMN "deleted"
--
DROP INDEX "IDX_c435f7a12371db979e76146f27"
--
CREATE TABLE "temporary_tools" ("id" varchar(64) PRIMARY KEY NOT NULL, "slug" varchar(63) NOT NULL, "name" varchar(255) NOT NULL, "description" text NOT NULL, "tags" text NOT NULL, "searchText" text NOT NULL, "authorId" varchar(64), "templateId" varchar(255), "currentVersionId" varchar(64) NOT NULL, "currentNumber" integer NOT NULL, "createdAt" bigint NOT NULL, "updatedAt" bigint NOT NULL, "deletedAt" bigint)
--
INSERT INTO "temporary_tools"("id", "slug", "name", "description", "tags", "searchText", "authorId", "templateId", "currentVersionId", "currentNumber", "createdAt", "updatedAt", "deletedAt") SELECT "id", "slug", "name", "description", "tags", coalesce((SELECT rtrim("text", char(10)) FROM "tool_texts" WHERE "toolId" = "tools"."id"), ''), "authorId", "templateId", "currentVersionId", "currentNumber", "createdAt", "updatedAt", "deletedAt" FROM "tools"
--
DROP TABLE "tools"
--
ALTER TABLE "temporary_tools" RENAME TO "tools"
--
CREATE UNIQUE INDEX "IDX_c435f7a12371db979e76146f27" ON "tools" ("slug")
--
DROP TABLE deleted_tool_index
--
DROP TABLE tool_index
--
DROP TABLE "tool_texts"
