DROP TABLE "hosts"
