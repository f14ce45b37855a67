CREATE TABLE "template_repositories" ("place" varchar(255) PRIMARY KEY NOT NULL, "commitSha" varchar(64), "syncedAt" bigint, "checkedAt" bigint NOT NULL, "lastError" text, "files" text NOT NULL)
