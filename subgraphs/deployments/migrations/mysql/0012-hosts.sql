CREATE TABLE `hosts` (`id` varchar(255) NOT NULL, `token` bigint NOT NULL, `owner` varchar(255) NOT NULL, `heardAt` bigint NOT NULL, `leaseUntil` bigint NOT NULL, `offer` longtext NOT NULL, PRIMARY KEY (`id`)) ENGINE=InnoDB
--
INSERT INTO `hosts` (`id`, `token`, `owner`, `heardAt`, `leaseUntil`, `offer`) SELECT DISTINCT `hostId`, 0, '', 0, 0, '{"address":"","url":null,"portRange":{"first":0,"last":0},"runtimes":[]}' FROM `replicas`
