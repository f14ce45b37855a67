import type { RestRoute } from "../rest-route.ts";
import { analysisRoutes } from "./analysis.ts";
import { authRoutes } from "./auth.ts";
import { deploymentRoutes } from "./deployments.ts";
import { githubRoutes } from "./github.ts";
import { knowledgeRoutes } from "./knowledge.ts";
import { templateRoutes } from "./templates.ts";
import { toolRoutes } from "./tools.ts";

/** All routes of REST: the table of the contract. */
export const restRoutes: readonly RestRoute[] = [
  ...authRoutes,
  ...toolRoutes,
  ...knowledgeRoutes,
  ...analysisRoutes,
  ...githubRoutes,
  ...deploymentRoutes,
  ...templateRoutes,
];
