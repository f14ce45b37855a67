CREATE TABLE "tool_shares" ("toolId" varchar(64) NOT NULL, "userId" varchar(64) NOT NULL, "access" varchar(255) NOT NULL, "sharedById" varchar(64), "createdAt" bigint NOT NULL, "updatedAt" bigint NOT NULL, PRIMARY KEY ("toolId", "userId"))
--
CREATE INDEX "IDX_f53247b86d3a6769e2a11cbb1a" ON "tool_shares" ("userId", "toolId") 
--
CREATE INDEX "IDX_3a5e3e0fb4134b19017d9c2ece" ON "tools" ("authorId", "id") 
