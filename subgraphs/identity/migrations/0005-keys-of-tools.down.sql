UPDATE "api_keys" SET "revokedAt" = "createdAt" WHERE "toolIds" IS NOT NULL AND "revokedAt" IS NULL
--
ALTER TABLE "api_keys" DROP COLUMN "toolIds"