ALTER TABLE "deployments" ADD COLUMN "settledAt" bigint
--
ALTER TABLE "deployments" ADD COLUMN "revision" integer NOT NULL DEFAULT (0)
--
UPDATE "deployments" SET "settledAt" = coalesce("stoppedAt", "createdAt") WHERE "status" = 'STOPPED'
--
UPDATE "deployments" SET "settledAt" = "createdAt" WHERE "status" = 'FAILED'
  AND "desiredReplicas" = (SELECT count(*) FROM "replicas" WHERE "deploymentId" = "deployments"."id")
  AND "desiredReplicas" = (SELECT count(*) FROM "replicas" WHERE "deploymentId" = "deployments"."id" AND "phase" = 'FAILED' AND "replicas"."generation" = "deployments"."generation")
--
CREATE INDEX "IDX_cc9cd59fb8e9dc493868761e0f" ON "deployments" ("settledAt", "id", "revision")
--
CREATE INDEX "IDX_75c6b5d3e6f1e960368a6325cc" ON "replicas" ("phase", "deploymentId") WHERE "handle" IS NOT NULL OR "previousHandle" IS NOT NULL
