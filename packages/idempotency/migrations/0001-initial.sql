CREATE TABLE "idempotency_keys" ("id" varchar(64) PRIMARY KEY NOT NULL, "callerId" varchar(64) NOT NULL, "fingerprint" text NOT NULL, "runningUntil" bigint NOT NULL, "expiresAt" bigint NOT NULL, "answer" text, "characters" integer NOT NULL)
--
CREATE INDEX "IDX_ed5568f2234fdc76e9fa702556" ON "idempotency_keys" ("callerId", "expiresAt", "characters") 
--
CREATE INDEX "IDX_69cdd42dc83e6208402de6acef" ON "idempotency_keys" ("expiresAt") 
