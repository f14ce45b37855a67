export { openMongodb, type MongodbConnection } from "./connection.ts";
export { mongodbUnavailable } from "./failures.ts";
