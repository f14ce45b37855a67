INSERT INTO "usage_buckets" ("resolutionMs", "at", "deploymentId", "mcpTool", "toolId", "calls", "errors", "mcpFailures", "histogram")
WITH "hours" AS (SELECT *, "at" / 86400000 * 86400000 AS "day" FROM "usage_buckets" WHERE "resolutionMs" = 3600000),
  "parts" AS (SELECT "day", "deploymentId", "mcpTool", "part"."key", SUM("part"."value") AS "count" FROM "hours", json_each("hours"."histogram") "part" GROUP BY 1, 2, 3, 4),
  "merged" AS (SELECT "day", "deploymentId", "mcpTool", json_group_object("key", "count") AS "histogram" FROM "parts" GROUP BY 1, 2, 3)
SELECT 86400000, "day", "deploymentId", "mcpTool", MAX("toolId"), SUM("calls"), SUM("errors"), SUM("mcpFailures"), "merged"."histogram"
FROM "hours" JOIN "merged" USING ("day", "deploymentId", "mcpTool") GROUP BY 2, 3, 4
