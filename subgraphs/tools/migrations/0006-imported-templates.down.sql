DROP TABLE "imported_templates"
