ALTER TABLE "tasks" DROP COLUMN "resultId"
