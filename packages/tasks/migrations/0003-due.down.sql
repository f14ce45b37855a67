DROP INDEX "IDX_26354b2122297bce16fe92d066"
--
CREATE INDEX "IDX_4c1127fd8a6c26d23fd3f62e78" ON "tasks" ("status", "kind", "dueAt")
