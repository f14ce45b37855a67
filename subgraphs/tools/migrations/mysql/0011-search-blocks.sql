CREATE TABLE `tool_grams` (`gram` bigint NOT NULL, `block` bigint NOT NULL, PRIMARY KEY (`gram`, `block`)) ENGINE=InnoDB
--
ALTER TABLE `tool_texts` ADD `indexed` tinyint NOT NULL DEFAULT 0
--
CREATE INDEX `IDX_70f831c34519be205b7b4546a2` ON `tool_texts` (`indexed`, `position`)
