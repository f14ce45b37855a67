ALTER TABLE `deployments` ADD COLUMN `autoscale` longtext NULL
