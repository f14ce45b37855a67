import type { RequestContext, ToolLookup } from "@toolyard/service-kit";
import type { AnalysisService } from "./analysis-service.ts";
import type { Loaders } from "./loaders.ts";
import type { TaskService } from "./task-service.ts";

/** What the resolvers of one operation work with. */
export interface Context extends RequestContext {
  analysis: AnalysisService;
  tasks: TaskService;
  tools: ToolLookup;
  loaders: Loaders;
}
