-- The reasons that it took away do not come back.
ALTER TABLE "health_checks" DROP COLUMN "words"
--
ALTER TABLE "deployments" DROP COLUMN "words"
