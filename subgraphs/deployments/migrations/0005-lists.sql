DROP INDEX "IDX_1a3e26f4bdde1e0e4313a8b398"
--
DROP INDEX "IDX_828f21950bda69fc7cd6c345b0"
--
CREATE INDEX "IDX_e8c6e3ff3e1d4dce1bd9f86045" ON "deployments" ("environment", "status", "id") 
--
CREATE INDEX "IDX_3a9bce008249633e4c1d19c7bf" ON "deployments" ("toolId", "id") 
--
CREATE INDEX "IDX_f8fb3dea2e53e63bfd918e2f0c" ON "deployments" ("toolId", "environment", "id") 
--
CREATE INDEX "IDX_9529e32ac237187333b87cd213" ON "deployments" ("toolId", "environment", "status", "id") 
--
CREATE INDEX "IDX_bad6c2b306e0d344e0b78fa914" ON "deployments" ("toolId", "desired", "environment", "id") 
--
CREATE INDEX "IDX_b4d8b52aaadacd4cc2a27eb14f" ON "deployments" ("toolSlug", "desired", "id") 
--
CREATE INDEX "IDX_cbf05a596452486e47fae116e2" ON "deployments" ("templateId", "id") 
