export { createCollections } from "./collections.ts";
export { openMongodb, type MongodbConnection } from "./connection.ts";
export { mongodbUnavailable, orUnavailable } from "./failures.ts";
