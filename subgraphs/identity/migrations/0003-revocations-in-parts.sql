DROP INDEX "IDX_57de40bc620f456c7311aa3a1e"
--
DROP INDEX "IDX_fecb5973ea7fc35f94d4637817"
--
CREATE INDEX "IDX_fce8f1327b4703c63f34bb3586" ON "sessions" ("userId", "id") 
--
CREATE INDEX "IDX_d53698aa1c069922d23131d1d8" ON "api_keys" ("ownerId", "id") 
