CREATE TABLE "documents" ("id" varchar(64) PRIMARY KEY NOT NULL, "title" varchar(255) NOT NULL, "contentType" varchar(255) NOT NULL, "size" integer NOT NULL, "digest" varchar(64) NOT NULL, "tags" text NOT NULL, "metadata" text, "toolId" varchar(64), "uploadedById" varchar(64), "createdAt" bigint NOT NULL, "updatedAt" bigint NOT NULL)
--
CREATE INDEX "IDX_784b8f4877b36948a60834c391" ON "documents" ("toolId", "id") 
--
CREATE TABLE "document_tags" ("documentId" varchar(64) NOT NULL, "tag" varchar(255) NOT NULL, PRIMARY KEY ("documentId", "tag"))
--
CREATE INDEX "IDX_e668258c33da14c14193e167e2" ON "document_tags" ("tag", "documentId") 
--
CREATE TABLE "document_texts" ("id" integer PRIMARY KEY AUTOINCREMENT NOT NULL, "documentId" varchar(64) NOT NULL, "title" varchar(255) NOT NULL, "text" text NOT NULL)
--
CREATE UNIQUE INDEX "IDX_9d631828e34be91de0ed6f3052" ON "document_texts" ("documentId") 
--
CREATE TABLE "document_originals" ("documentId" varchar(64) PRIMARY KEY NOT NULL, "content" text NOT NULL)
