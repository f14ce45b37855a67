DROP INDEX "IDX_26354b2122297bce16fe92d066"
--
ALTER TABLE "tasks" ADD COLUMN "priority" integer NOT NULL DEFAULT (0)
--
UPDATE "tasks" SET "priority" = 1 WHERE "status" IN ('QUEUED', 'RUNNING') AND "requestedById" IS NULL
--
CREATE INDEX "IDX_68f8fcfc4724520e0c5536181b" ON "tasks" ("status", "kind", "priority", "dueAt", "id")
