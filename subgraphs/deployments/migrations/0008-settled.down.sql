DROP INDEX "IDX_75c6b5d3e6f1e960368a6325cc"
--
DROP INDEX "IDX_cc9cd59fb8e9dc493868761e0f"
--
ALTER TABLE "deployments" DROP COLUMN "revision"
--
ALTER TABLE "deployments" DROP COLUMN "settledAt"
