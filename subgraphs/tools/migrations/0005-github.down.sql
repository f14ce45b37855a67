DROP TABLE "github_deliveries"
--
DROP TABLE "github_files"
--
DROP TABLE "github_connections"
