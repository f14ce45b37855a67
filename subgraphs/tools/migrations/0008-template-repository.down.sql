DROP TABLE "template_repositories"
