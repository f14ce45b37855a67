DROP INDEX `IDX_5a181b47e37258b66512e102f5` ON `interface_changes`
--
DROP INDEX `IDX_b066e636457065d8d739b1b2f5` ON `interface_changes`
--
DROP TABLE `interface_changes`
--
DROP INDEX `IDX_5bc183a423165d70d1fd80e82e` ON `interfaces`
--
DROP TABLE `interfaces`
