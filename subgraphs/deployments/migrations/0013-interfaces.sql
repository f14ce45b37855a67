CREATE TABLE "interfaces" ("toolId" varchar(64) NOT NULL, "digest" varchar(255) NOT NULL, "hash" varchar(255) NOT NULL, "toolsHash" varchar(255), "at" bigint NOT NULL, "deploymentId" varchar(64) NOT NULL, "content" text NOT NULL, PRIMARY KEY ("toolId", "digest"))
--
CREATE INDEX "IDX_5bc183a423165d70d1fd80e82e" ON "interfaces" ("toolId", "at", "digest") 
--
CREATE TABLE "interface_changes" ("id" varchar(64) PRIMARY KEY NOT NULL, "toolId" varchar(64) NOT NULL, "digest" varchar(255) NOT NULL, "at" bigint NOT NULL, "deploymentId" varchar(64) NOT NULL, "difference" text NOT NULL)
--
CREATE INDEX "IDX_b066e636457065d8d739b1b2f5" ON "interface_changes" ("toolId", "id") 
--
CREATE INDEX "IDX_5a181b47e37258b66512e102f5" ON "interface_changes" ("toolId", "digest", "id") 
