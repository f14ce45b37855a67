DROP INDEX `IDX_68f8fcfc4724520e0c5536181b` ON `tasks`
--
ALTER TABLE `tasks` DROP COLUMN `priority`
--
CREATE INDEX `IDX_26354b2122297bce16fe92d066` ON `tasks` (`status`, `kind`, `dueAt`, `id`)
