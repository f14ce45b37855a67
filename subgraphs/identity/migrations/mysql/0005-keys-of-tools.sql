CREATE TABLE `users` (`id` varchar(64) NOT NULL, `username` varchar(255) NOT NULL, `usernameKey` varchar(255) NOT NULL, `email` varchar(255) NULL, `role` varchar(255) NOT NULL, `disabled` tinyint NOT NULL, `passwordHash` varchar(255) NOT NULL, `passwordExpiresAt` bigint NULL, `createdAt` bigint NOT NULL, INDEX `IDX_ace513fa30d485cfd25c11a9e4` (`role`), UNIQUE INDEX `IDX_fddaf46b524fa6c88ac581ce8c` (`usernameKey`), PRIMARY KEY (`id`)) ENGINE=InnoDB
--
CREATE TABLE `sessions` (`id` varchar(64) NOT NULL, `userId` varchar(64) NOT NULL, `passwordAt` bigint NOT NULL, `createdAt` bigint NOT NULL, `expiresAt` bigint NOT NULL, `revokedAt` bigint NULL, INDEX `IDX_fce8f1327b4703c63f34bb3586` (`userId`, `id`), INDEX `IDX_50762206f116cd47d1c3fec396` (`expiresAt`), INDEX `IDX_c83d60c9016385de9d4094f802` (`expiresAt`, `revokedAt`), PRIMARY KEY (`id`)) ENGINE=InnoDB
--
CREATE TABLE `refresh_tokens` (`hash` varchar(64) NOT NULL, `sessionId` varchar(64) NOT NULL, `accessTokenId` varchar(64) NOT NULL, `issuedAt` bigint NOT NULL, `usedAt` bigint NULL, INDEX `IDX_9d6965b69709375d5ba35dc988` (`sessionId`, `issuedAt`), UNIQUE INDEX `IDX_55e00528f3e7b3c6ae2a042bd8` (`accessTokenId`), PRIMARY KEY (`hash`)) ENGINE=InnoDB
--
CREATE TABLE `api_keys` (`id` varchar(64) NOT NULL, `ownerId` varchar(64) NOT NULL, `name` varchar(255) NOT NULL, `scopes` longtext NOT NULL, `toolIds` longtext NULL, `hash` varchar(64) NOT NULL, `createdAt` bigint NOT NULL, `lastUsedAt` bigint NULL, `expiresAt` bigint NULL, `revokedAt` bigint NULL, INDEX `IDX_d53698aa1c069922d23131d1d8` (`ownerId`, `id`), PRIMARY KEY (`id`)) ENGINE=InnoDB
--
CREATE TABLE `stream_tickets` (`id` varchar(64) NOT NULL, `hash` varchar(64) NOT NULL, `userId` varchar(64) NOT NULL, `tokenId` varchar(64) NULL, `tokenIssuedAt` bigint NULL, `apiKeyId` varchar(64) NULL, `credentialExpiresAt` bigint NULL, `expiresAt` bigint NOT NULL, INDEX `IDX_4fb8558291f9aae8fa81bc635f` (`userId`), INDEX `IDX_f7c7d95b41b4de8beee710a9c4` (`tokenId`), INDEX `IDX_81bbdd3434cfe68dfe863cf200` (`apiKeyId`), INDEX `IDX_9701154757efdf3d23cb3e6bd6` (`expiresAt`), PRIMARY KEY (`id`)) ENGINE=InnoDB
--
CREATE TABLE `revocation_events` (`sequence` bigint NOT NULL, `at` bigint NOT NULL, `kind` varchar(255) NOT NULL, `subjectId` varchar(64) NOT NULL, `payload` longtext NOT NULL, INDEX `IDX_5ba6ed8b123415e0d68fb44fe4` (`subjectId`, `sequence`), INDEX `IDX_4290eb359bcc37314d0e8dc988` (`at`), PRIMARY KEY (`sequence`)) ENGINE=InnoDB
--
CREATE TABLE `revocation_event_counter` (`name` varchar(255) NOT NULL, `next` bigint NOT NULL, `trimmedTo` bigint NOT NULL, PRIMARY KEY (`name`)) ENGINE=InnoDB
--
CREATE TABLE IF NOT EXISTS `scheduled_jobs` (`job` varchar(255) NOT NULL, `token` bigint NOT NULL, `runner` varchar(64) NOT NULL, `leaseUntil` bigint NOT NULL, `since` bigint NOT NULL, `lastSuccessAt` bigint NULL, PRIMARY KEY (`job`)) ENGINE=InnoDB
