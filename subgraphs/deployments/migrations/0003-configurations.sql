UPDATE "deployments" SET "configuration" = NULL WHERE "sealedConfiguration" IS NOT NULL
