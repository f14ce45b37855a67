DROP TABLE `revocation_event_counter`
--
DROP TABLE `revocation_events`
--
DROP TABLE `stream_tickets`
--
DROP TABLE `api_keys`
--
DROP TABLE `refresh_tokens`
--
DROP TABLE `sessions`
--
DROP TABLE `users`
