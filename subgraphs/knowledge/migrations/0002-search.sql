CREATE VIRTUAL TABLE document_index USING fts5(title, text, content='document_texts', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2')
--
CREATE VIRTUAL TABLE document_words USING fts5(title, text, content='document_texts', content_rowid='id', detail=none, tokenize='unicode61 remove_diacritics 2')
--
CREATE VIRTUAL TABLE document_word_terms USING fts5vocab(document_words, 'row')
--
CREATE VIRTUAL TABLE document_word_places USING fts5vocab(document_words, 'instance')
