DROP TABLE `tool_event_counter`
--
DROP TABLE `tool_events`
--
DROP TABLE `template_repositories`
--
DROP TABLE `imported_templates`
--
DROP TABLE `github_deliveries`
--
DROP TABLE `github_files`
--
DROP TABLE `github_connections`
--
DROP TABLE `tool_versions`
--
DROP TABLE `tool_texts`
--
DROP TABLE `tool_tags`
--
DROP TABLE `tool_shares`
--
DROP TABLE `tools`
