CREATE TABLE `tools` (`id` varchar(64) NOT NULL, `slug` varchar(63) NOT NULL, `name` varchar(255) NOT NULL, `description` longtext NOT NULL, `tags` longtext NOT NULL, `authorId` varchar(64) NULL, `templateId` varchar(255) NULL, `currentVersionId` varchar(64) NOT NULL, `currentNumber` bigint NOT NULL, `createdAt` bigint NOT NULL, `updatedAt` bigint NOT NULL, `deletedAt` bigint NULL, UNIQUE INDEX `IDX_c435f7a12371db979e76146f27` (`slug`), INDEX `IDX_3a5e3e0fb4134b19017d9c2ece` (`authorId`, `id`), INDEX `IDX_9170245482c365b622d56b7240` (`id`, `deletedAt`), INDEX `IDX_ccd3590bb3fea134052b65d9a8` (`templateId`, `authorId`, `id`), PRIMARY KEY (`id`)) ENGINE=InnoDB
--
CREATE TABLE `tool_shares` (`toolId` varchar(64) NOT NULL, `userId` varchar(64) NOT NULL, `access` varchar(255) NOT NULL, `sharedById` varchar(64) NULL, `createdAt` bigint NOT NULL, `updatedAt` bigint NOT NULL, INDEX `IDX_f53247b86d3a6769e2a11cbb1a` (`userId`, `toolId`), PRIMARY KEY (`toolId`, `userId`)) ENGINE=InnoDB
--
CREATE TABLE `tool_tags` (`toolId` varchar(64) NOT NULL, `tag` varchar(255) NOT NULL, `deleted` tinyint NOT NULL, INDEX `IDX_35930649ded18b09fbfc480f2a` (`tag`, `toolId`), INDEX `IDX_65924a7ddbdaa500750715b21e` (`tag`, `deleted`, `toolId`), PRIMARY KEY (`toolId`, `tag`)) ENGINE=InnoDB
--
CREATE TABLE `tool_texts` (`position` bigint NOT NULL AUTO_INCREMENT, `toolId` varchar(64) NOT NULL, `deleted` tinyint NOT NULL, `text` longtext NOT NULL, UNIQUE INDEX `IDX_05c297459da59a6e500995edd2` (`toolId`), PRIMARY KEY (`position`)) ENGINE=InnoDB
--
CREATE TABLE `tool_versions` (`id` varchar(64) NOT NULL, `toolId` varchar(64) NOT NULL, `number` bigint NOT NULL, `name` varchar(255) NOT NULL, `description` longtext NOT NULL, `tags` longtext NOT NULL, `launch` longtext NOT NULL, `configSchema` longtext NULL, `digest` varchar(64) NOT NULL, `changeSummary` longtext NULL, `source` varchar(255) NOT NULL, `commitSha` varchar(64) NULL, `createdById` varchar(64) NULL, `createdAt` bigint NOT NULL, UNIQUE INDEX `IDX_0431fad5d394b23d11ef00126c` (`toolId`, `number`), PRIMARY KEY (`id`)) ENGINE=InnoDB
--
CREATE TABLE `github_connections` (`id` varchar(64) NOT NULL, `toolId` varchar(64) NOT NULL, `followerId` varchar(64) NULL, `owner` varchar(255) NOT NULL, `repository` varchar(255) NOT NULL, `fullName` varchar(255) NOT NULL, `branch` varchar(255) NOT NULL, `path` varchar(255) NOT NULL, `status` varchar(255) NOT NULL, `lastSyncedCommit` varchar(64) NULL, `lastSyncedAt` bigint NULL, `lastError` longtext NULL, `connectedById` varchar(64) NOT NULL, `createdAt` bigint NOT NULL, `taskId` varchar(64) NULL, `runningTaskId` varchar(64) NULL, `manifestOid` varchar(64) NULL, `manifestTaskId` varchar(64) NULL, `manifestVersionId` varchar(64) NULL, UNIQUE INDEX `IDX_c7dd4c151561a211cf2eb6221c` (`followerId`), INDEX `IDX_707de6f531453cdb2548a80bca` (`fullName`, `branch`), INDEX `IDX_381ecba11573f68bf14f722b24` (`toolId`), PRIMARY KEY (`id`)) ENGINE=InnoDB
--
CREATE TABLE `github_files` (`connectionId` varchar(64) NOT NULL, `path` varchar(255) NOT NULL, `documentId` varchar(64) NOT NULL, `oid` varchar(64) NULL, `digest` varchar(64) NULL, PRIMARY KEY (`connectionId`, `path`)) ENGINE=InnoDB
--
CREATE TABLE `github_deliveries` (`id` varchar(64) NOT NULL, `receivedAt` bigint NOT NULL, `finished` tinyint NOT NULL, INDEX `IDX_bbbaad05e94a1fcd7cb395e043` (`receivedAt`), PRIMARY KEY (`id`)) ENGINE=InnoDB
--
CREATE TABLE `imported_templates` (`id` varchar(64) NOT NULL, `name` varchar(255) NOT NULL, `description` longtext NOT NULL, `launch` longtext NOT NULL, `configSchema` longtext NOT NULL, `repository` longtext NULL, `version` varchar(255) NULL, `source` varchar(255) NOT NULL, `authorId` varchar(64) NOT NULL, `serverName` varchar(255) NOT NULL, `importedAt` bigint NOT NULL, INDEX `IDX_9660b9e10abd41d5cb85f9e670` (`authorId`), PRIMARY KEY (`id`)) ENGINE=InnoDB
--
CREATE TABLE `template_repositories` (`place` varchar(255) NOT NULL, `commitSha` varchar(64) NULL, `syncedAt` bigint NULL, `checkedAt` bigint NOT NULL, `lastError` longtext NULL, `files` longtext NOT NULL, PRIMARY KEY (`place`)) ENGINE=InnoDB
--
CREATE TABLE `tool_events` (`sequence` bigint NOT NULL, `at` bigint NOT NULL, `kind` varchar(255) NOT NULL, `subjectId` varchar(64) NOT NULL, `payload` longtext NOT NULL, INDEX `IDX_87e16c0146832a5b6a6c82c919` (`subjectId`, `sequence`), INDEX `IDX_019e31af3ece46c3bae03ecde5` (`at`), PRIMARY KEY (`sequence`)) ENGINE=InnoDB
--
CREATE TABLE `tool_event_counter` (`name` varchar(255) NOT NULL, `next` bigint NOT NULL, `trimmedTo` bigint NOT NULL, PRIMARY KEY (`name`)) ENGINE=InnoDB
--
CREATE TABLE IF NOT EXISTS `scheduled_jobs` (`job` varchar(255) NOT NULL, `token` bigint NOT NULL, `runner` varchar(64) NOT NULL, `leaseUntil` bigint NOT NULL, `since` bigint NOT NULL, `lastSuccessAt` bigint NULL, PRIMARY KEY (`job`)) ENGINE=InnoDB
