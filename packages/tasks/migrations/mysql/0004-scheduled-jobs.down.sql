DROP TABLE `task_event_counter`
--
DROP TABLE `task_events`
--
DROP TABLE `tasks`
