CREATE INDEX "IDX_ccd3590bb3fea134052b65d9a8" ON "tools" ("templateId", "authorId", "id") WHERE "templateId" IS NOT NULL
