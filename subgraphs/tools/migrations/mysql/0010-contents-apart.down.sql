ALTER TABLE `tool_versions` DROP COLUMN `contentId`,
  CHANGE `name` `name` varchar(255) NOT NULL,
  CHANGE `description` `description` longtext NOT NULL,
  CHANGE `tags` `tags` longtext NOT NULL,
  CHANGE `launch` `launch` longtext NOT NULL
