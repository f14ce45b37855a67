-- Writes merge the index themselves, a bounded piece each: SQLite does what is due at once, which holds the event loop.
INSERT INTO tool_index(tool_index, rank) VALUES ('automerge', 0)
--
INSERT INTO tool_index(tool_index, rank) VALUES ('crisismerge', 1000)
--
INSERT INTO deleted_tool_index(deleted_tool_index, rank) VALUES ('automerge', 0)
--
INSERT INTO deleted_tool_index(deleted_tool_index, rank) VALUES ('crisismerge', 1000)
