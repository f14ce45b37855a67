DROP TABLE document_word_places
--
DROP TABLE document_word_terms
--
DROP TABLE document_words
--
DROP TABLE document_index
