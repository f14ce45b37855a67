DROP TABLE `health_event_counter`
--
DROP TABLE `health_events`
--
DROP TABLE `deployment_event_counter`
--
DROP TABLE `deployment_events`
--
DROP TABLE `usage_buckets`
--
DROP TABLE `usage_batches`
--
DROP TABLE `usage_records`
--
DROP TABLE `health_checks`
--
DROP TABLE `last_stopped`
--
DROP TABLE `replicas`
--
DROP TABLE `deployments`
