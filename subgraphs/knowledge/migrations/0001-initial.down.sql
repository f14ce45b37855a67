DROP TABLE "document_originals"
--
DROP TABLE "document_texts"
--
DROP TABLE "document_tags"
--
DROP TABLE "documents"
