CREATE TABLE "last_stopped" ("toolId" varchar(64) NOT NULL, "environment" varchar(255) NOT NULL, "deploymentId" varchar(64) NOT NULL, PRIMARY KEY ("toolId", "environment"))
--
CREATE UNIQUE INDEX "IDX_cec84d2f9c9fbd8954df984046" ON "last_stopped" ("deploymentId") 
--
INSERT INTO "last_stopped" ("toolId", "environment", "deploymentId") SELECT "toolId", "environment", MAX("id") FROM "deployments" GROUP BY "toolId", "environment" HAVING SUM("desired" = 'RUN') = 0
--
CREATE INDEX "IDX_dbbceed19ad8873da59ca40155" ON "deployments" ("id") WHERE desired = 'RUN'
