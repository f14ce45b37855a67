ALTER TABLE `tasks` ADD `resultId` varchar(64) NULL
