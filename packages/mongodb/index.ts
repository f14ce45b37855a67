export { createCollections, untilDone } from "./collections.ts";
export { openMongodb, type MongodbConnection } from "./connection.ts";
export { KILLED_MS, orUnavailable } from "./conflicts.ts";
export { mongodbUnavailable } from "./failures.ts";
