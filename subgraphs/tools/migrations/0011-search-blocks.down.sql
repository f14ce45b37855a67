DROP INDEX "IDX_70f831c34519be205b7b4546a2"
--
ALTER TABLE "tool_texts" DROP COLUMN "indexed"
--
DROP TABLE "tool_grams"
