DROP INDEX "IDX_dbbceed19ad8873da59ca40155"
--
DROP TABLE "last_stopped"
