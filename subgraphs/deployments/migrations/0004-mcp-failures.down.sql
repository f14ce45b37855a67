ALTER TABLE "usage_buckets" DROP COLUMN "mcpFailures"
--
ALTER TABLE "usage_records" DROP COLUMN "mcpFailure"
