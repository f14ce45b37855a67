DROP INDEX `IDX_c5ae5ecb3df30b6407780d875b` ON `usage_parties`
--
DROP INDEX `IDX_ab176ae0c80b50850245cf913f` ON `usage_parties`
--
DROP TABLE `usage_parties`
