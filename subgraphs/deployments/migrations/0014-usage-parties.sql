CREATE TABLE "usage_parties" ("resolutionMs" bigint NOT NULL, "at" bigint NOT NULL, "deploymentId" varchar(64) NOT NULL, "party" varchar(255) NOT NULL, "toolId" varchar(64) NOT NULL, "calls" integer NOT NULL, "errors" integer NOT NULL, "mcpFailures" integer NOT NULL, "histogram" text NOT NULL, PRIMARY KEY ("resolutionMs", "at", "deploymentId", "party"))
--
CREATE INDEX "IDX_ab176ae0c80b50850245cf913f" ON "usage_parties" ("toolId", "resolutionMs", "at") 
--
CREATE INDEX "IDX_c5ae5ecb3df30b6407780d875b" ON "usage_parties" ("deploymentId", "resolutionMs", "at") 
