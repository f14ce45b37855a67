import type { RequestContext, ToolLookup } from "@toolyard/service-kit";
import type { TaskService } from "@toolyard/tasks";
import type { AnalysisService } from "./analysis-service.ts";

/** The context of one operation's resolvers. */
export interface Context extends RequestContext {
  analysis: AnalysisService;
  tasks: TaskService;
  tools: ToolLookup;
}
