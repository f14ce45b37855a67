ALTER TABLE "deployments" ADD COLUMN "words" text
--
ALTER TABLE "health_checks" ADD COLUMN "words" text
--
UPDATE "deployments" SET "reason" = NULL
--
UPDATE "health_checks" SET "detail" = NULL
--
UPDATE "replicas" SET "state" = json_remove(json_set("state", '$.reason', 'It failed before this Toolyard was updated.', '$.words', NULL), '$.lastWords') WHERE json_extract("state", '$.reason') IS NOT NULL
--
UPDATE "replicas" SET "state" = json_remove("state", '$.lastWords') WHERE json_extract("state", '$.lastWords') IS NOT NULL
--
UPDATE "deployment_events" SET "payload" = json_set("payload", '$.message', 'Its reason was not kept when Toolyard was updated.') WHERE "kind" IN ('REPLICA_UNHEALTHY', 'REPLICA_BACKOFF', 'REPLICA_STOPPING', 'REPLICA_FAILED', 'STARTING', 'RUNNING', 'FAILED', 'HEALTH_CHANGED')
--
UPDATE "health_events" SET "payload" = json_set("payload", '$.check.detail', NULL, '$.check.words', NULL)
