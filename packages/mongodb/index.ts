export { openMongodb, type MongodbConnection } from "./connection.ts";
export { mongodbFailureOf, mongodbUnavailable } from "./failures.ts";
