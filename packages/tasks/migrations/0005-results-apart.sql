ALTER TABLE "tasks" ADD COLUMN "resultId" varchar(64)
