DROP INDEX "IDX_3a5e3e0fb4134b19017d9c2ece"
--
DROP TABLE "tool_shares"
