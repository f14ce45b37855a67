import type { RequestContext } from "@toolyard/service-kit";
import type { ConnectionService } from "./github/connection-service.ts";
import type { Loaders } from "./loaders.ts";
import type { RepositoryTemplates } from "./templates/repository/repository-templates.ts";
import type { TemplateImports } from "./templates/template-imports.ts";
import type { TemplateReader } from "./templates/template-reader.ts";
import type { ShareService } from "./share-service.ts";
import type { ToolReader } from "./tool-reader.ts";
import type { ToolService } from "./tool-service.ts";

/** The context of one operation's resolvers. */
export interface Context extends RequestContext {
  reader: ToolReader;
  tools: ToolService;
  templates: TemplateReader;
  templateRepository: RepositoryTemplates | null;
  connections: ConnectionService;
  imports: TemplateImports;
  sharing: ShareService;
  loaders: Loaders;
}
