DROP INDEX "IDX_b25a58a00578bd1b7a01623d2d"
--
CREATE INDEX "IDX_c83d60c9016385de9d4094f802" ON "sessions" ("expiresAt", "revokedAt") WHERE "revokedAt" IS NULL
--
CREATE INDEX "IDX_9d6965b69709375d5ba35dc988" ON "refresh_tokens" ("sessionId", "issuedAt") 
--
CREATE INDEX "IDX_f7c7d95b41b4de8beee710a9c4" ON "stream_tickets" ("tokenId") 
--
CREATE INDEX "IDX_81bbdd3434cfe68dfe863cf200" ON "stream_tickets" ("apiKeyId") 
