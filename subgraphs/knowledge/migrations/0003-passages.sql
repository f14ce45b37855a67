DROP TABLE document_word_places
--
DROP TABLE document_index
--
CREATE VIRTUAL TABLE document_index USING fts5(title, text, content='', contentless_delete=1, tokenize='porter unicode61 remove_diacritics 2')
--
CREATE VIRTUAL TABLE document_passages USING fts5(text, tokenize='porter unicode61 remove_diacritics 2')
--
CREATE TABLE "unindexed_texts" ("id" integer PRIMARY KEY NOT NULL)
--
INSERT INTO "unindexed_texts" ("id") SELECT "id" FROM "document_texts"
