DROP TABLE `hosts`
