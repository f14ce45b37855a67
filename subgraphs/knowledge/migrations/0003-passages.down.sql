DROP TABLE "unindexed_texts"
--
DROP TABLE document_passages
--
DROP TABLE document_index
--
CREATE VIRTUAL TABLE document_index USING fts5(title, text, content='document_texts', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2')
--
INSERT INTO document_index(document_index) VALUES ('rebuild')
--
CREATE VIRTUAL TABLE document_word_places USING fts5vocab(document_words, 'instance')
