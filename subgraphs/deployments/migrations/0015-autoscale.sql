ALTER TABLE "deployments" ADD COLUMN "autoscale" text
