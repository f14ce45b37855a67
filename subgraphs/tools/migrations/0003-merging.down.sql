-- The defaults (https://sqlite.org/fts5.html#special_insert_commands).
INSERT INTO tool_index(tool_index, rank) VALUES ('automerge', 4)
--
INSERT INTO tool_index(tool_index, rank) VALUES ('crisismerge', 16)
--
INSERT INTO deleted_tool_index(deleted_tool_index, rank) VALUES ('automerge', 4)
--
INSERT INTO deleted_tool_index(deleted_tool_index, rank) VALUES ('crisismerge', 16)
