ALTER TABLE "usage_records" ADD COLUMN "mcpFailure" varchar(255)
--
ALTER TABLE "usage_buckets" ADD COLUMN "mcpFailures" integer NOT NULL DEFAULT (0)
