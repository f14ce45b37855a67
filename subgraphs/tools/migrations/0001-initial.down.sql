DROP TABLE "tool_event_counter"
--
DROP TABLE "tool_events"
--
DROP TABLE "tool_versions"
--
DROP TABLE "tool_tags"
--
DROP TABLE "tools"
