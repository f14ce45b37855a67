ALTER TABLE `deployments` DROP COLUMN `offerHash`
