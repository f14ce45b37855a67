CREATE TABLE "imported_templates" ("id" varchar(64) PRIMARY KEY NOT NULL, "name" varchar(255) NOT NULL, "description" text NOT NULL, "launch" text NOT NULL, "configSchema" text NOT NULL, "repository" text, "version" varchar(255), "source" varchar(255) NOT NULL, "authorId" varchar(64) NOT NULL, "serverName" varchar(255) NOT NULL, "importedAt" bigint NOT NULL)
--
CREATE INDEX "IDX_9660b9e10abd41d5cb85f9e670" ON "imported_templates" ("authorId") 
