CREATE TABLE "tool_grams" ("gram" integer NOT NULL, "block" integer NOT NULL, PRIMARY KEY ("gram", "block"))
--
ALTER TABLE "tool_texts" ADD COLUMN "indexed" boolean NOT NULL DEFAULT 0
--
CREATE INDEX "IDX_70f831c34519be205b7b4546a2" ON "tool_texts" ("indexed", "position") 
