CREATE INDEX "IDX_68a5e5dce633432af2817616fa" ON "deployments" ("id", "templateId") WHERE "templateId" IS NOT NULL
