CREATE TABLE "deployments" ("id" varchar(64) PRIMARY KEY NOT NULL, "name" varchar(255) NOT NULL, "toolId" varchar(64) NOT NULL, "toolSlug" varchar(255) NOT NULL, "toolVersionId" varchar(64) NOT NULL, "versionNumber" integer NOT NULL, "ownerId" varchar(64), "templateId" varchar(255), "digest" varchar(255) NOT NULL, "environment" varchar(255) NOT NULL, "runtime" varchar(255) NOT NULL, "launch" text NOT NULL, "configuration" text, "sealedConfiguration" text, "desired" varchar(255) NOT NULL, "desiredReplicas" integer NOT NULL, "generation" integer NOT NULL, "role" varchar(255) NOT NULL, "status" varchar(255) NOT NULL, "health" varchar(255) NOT NULL, "reason" text, "everReady" boolean NOT NULL, "trafficWeight" integer NOT NULL, "deployedById" varchar(64), "createdAt" bigint NOT NULL, "deployedAt" bigint, "stoppedAt" bigint, "lastHealthCheckAt" bigint, CONSTRAINT "UQ_a25006350a8f794b8218cb01b55" UNIQUE ("name"))
--
CREATE INDEX "IDX_828f21950bda69fc7cd6c345b0" ON "deployments" ("toolId", "environment") 
--
CREATE INDEX "IDX_38192398a94dfb55eb11527d01" ON "deployments" ("status") 
--
CREATE INDEX "IDX_1a3e26f4bdde1e0e4313a8b398" ON "deployments" ("templateId") 
--
CREATE TABLE "replicas" ("id" varchar(64) PRIMARY KEY NOT NULL, "deploymentId" varchar(64) NOT NULL, "ordinal" integer NOT NULL, "hostId" varchar(255) NOT NULL, "address" varchar(255) NOT NULL, "port" integer, "generation" integer NOT NULL, "incarnation" integer NOT NULL, "phase" varchar(255) NOT NULL, "state" text NOT NULL, "attempts" integer NOT NULL, "restarts" integer NOT NULL, "handle" text, "previousHandle" text, "sealedToken" text NOT NULL, "startedAt" bigint, "lastProbeAt" bigint, CONSTRAINT "UQ_860287b20a49c2ac7c940eed2ab" UNIQUE ("hostId", "port"), CONSTRAINT "UQ_02c8b6f21cd781c2f42aa385124" UNIQUE ("deploymentId", "ordinal"))
--
CREATE INDEX "IDX_bdf749907c69749dd94329a771" ON "replicas" ("deploymentId") 
--
CREATE TABLE "health_checks" ("id" varchar(64) PRIMARY KEY NOT NULL, "deploymentId" varchar(64) NOT NULL, "replicaId" varchar(64), "at" bigint NOT NULL, "status" varchar(255) NOT NULL, "kind" varchar(255) NOT NULL, "latencyMs" double NOT NULL, "detail" text)
--
CREATE INDEX "IDX_a047ea285b6225e5ef145107a5" ON "health_checks" ("deploymentId", "id") 
--
CREATE TABLE "usage_records" ("id" varchar(64) PRIMARY KEY NOT NULL, "at" bigint NOT NULL, "toolId" varchar(64) NOT NULL, "deploymentId" varchar(64) NOT NULL, "endpoint" varchar(255) NOT NULL, "method" varchar(255) NOT NULL, "mcpMethod" varchar(255), "mcpTool" varchar(255), "statusCode" integer NOT NULL, "responseTimeMs" double NOT NULL, "userId" varchar(64))
--
CREATE INDEX "IDX_68496975b31ade7e3122f36324" ON "usage_records" ("toolId", "id") 
--
CREATE INDEX "IDX_c10808fe066d39e74fbcfbdfbe" ON "usage_records" ("deploymentId", "id") 
--
CREATE TABLE "usage_batches" ("id" varchar(64) PRIMARY KEY NOT NULL, "at" bigint NOT NULL)
--
CREATE INDEX "IDX_e742e94158ab19054208ad32c2" ON "usage_batches" ("at") 
--
CREATE TABLE "usage_buckets" ("resolutionMs" bigint NOT NULL, "at" bigint NOT NULL, "deploymentId" varchar(64) NOT NULL, "mcpTool" varchar(255) NOT NULL, "toolId" varchar(64) NOT NULL, "calls" integer NOT NULL, "errors" integer NOT NULL, "histogram" text NOT NULL, PRIMARY KEY ("resolutionMs", "at", "deploymentId", "mcpTool"))
--
CREATE INDEX "IDX_a1dbc06bbd5c9eddc7d3668532" ON "usage_buckets" ("toolId", "resolutionMs", "at") 
--
CREATE INDEX "IDX_c3109cf7f649d35e84fcb965e9" ON "usage_buckets" ("deploymentId", "resolutionMs", "at") 
--
CREATE TABLE "deployment_events" ("sequence" bigint PRIMARY KEY NOT NULL, "at" bigint NOT NULL, "kind" varchar(255) NOT NULL, "subjectId" varchar(64) NOT NULL, "payload" text NOT NULL)
--
CREATE INDEX "IDX_4d9c2dbde619a862514e866c35" ON "deployment_events" ("subjectId", "sequence") 
--
CREATE INDEX "IDX_999ee5af3dbdb21854ebfde893" ON "deployment_events" ("at") 
--
CREATE TABLE "deployment_event_counter" ("name" varchar(255) PRIMARY KEY NOT NULL, "next" bigint NOT NULL, "trimmedTo" bigint NOT NULL)
--
CREATE TABLE "health_events" ("sequence" bigint PRIMARY KEY NOT NULL, "at" bigint NOT NULL, "kind" varchar(255) NOT NULL, "subjectId" varchar(64) NOT NULL, "payload" text NOT NULL)
--
CREATE INDEX "IDX_5dd93670e7a0382a89c4a97928" ON "health_events" ("subjectId", "sequence") 
--
CREATE INDEX "IDX_b45dfc47a1c1c7221f20522d41" ON "health_events" ("at") 
--
CREATE TABLE "health_event_counter" ("name" varchar(255) PRIMARY KEY NOT NULL, "next" bigint NOT NULL, "trimmedTo" bigint NOT NULL)
