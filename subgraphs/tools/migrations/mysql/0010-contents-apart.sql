ALTER TABLE `tool_versions` ADD `contentId` varchar(64) NULL,
  CHANGE `name` `name` varchar(255) NULL,
  CHANGE `description` `description` longtext NULL,
  CHANGE `tags` `tags` longtext NULL,
  CHANGE `launch` `launch` longtext NULL
