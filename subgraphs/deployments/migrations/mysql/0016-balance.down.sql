ALTER TABLE `deployments` DROP COLUMN `balance`
