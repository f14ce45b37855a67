ALTER TABLE "deployments" ADD COLUMN "offerHash" varchar(255)
