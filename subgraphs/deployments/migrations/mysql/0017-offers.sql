ALTER TABLE `deployments` ADD `offerHash` varchar(255) NULL
