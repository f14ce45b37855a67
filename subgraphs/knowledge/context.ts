import type { RequestContext, ToolLookup } from "@toolyard/service-kit";
import type { DocumentService } from "./document-service.ts";
import type { Loaders } from "./loaders.ts";

/** A tool as far as this subgraph knows it. */
export interface ToolReference {
  id: string;
}

/** The context of one operation's resolvers. */
export interface Context extends RequestContext {
  documents: DocumentService;
  tools: ToolLookup;
  loaders: Loaders;
}
