DELETE FROM "usage_buckets" WHERE "resolutionMs" = 86400000
