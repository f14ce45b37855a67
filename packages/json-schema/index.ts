export { createSchemaValidator, type SchemaValidator } from "./schema-validator.ts";
