CREATE INDEX "IDX_736e61534f9821863b89af18ef" ON "deployments" ("toolId", "environment", "role", "id") WHERE desired = 'RUN'
