import { Kind, isObjectType, parse, validate, getNamedType, GraphQLError, type GraphQLSchema } from "graphql";
import { createAnswers, type Answer, type Components } from "../rest/answers.ts";
import { withFragments } from "../rest/fragments.ts";
import { TOPICS, type Topic } from "./event-position.ts";

/** The subscription to each log. Its event is `event`; of that, `data` of the envelope is what the fragment selects. */
const subscriptions: Record<Topic, string> = {
  deployment: `subscription DeploymentEvents($after: String, $toolId: ID, $deploymentId: ID) {
    event: deploymentEvents(after: $after, toolId: $toolId, deploymentId: $deploymentId) { sequence at ...DeploymentEvent }
  }`,
  health: `subscription HealthEvents($after: String, $toolId: ID, $deploymentId: ID) {
    event: deploymentHealth(after: $after, toolId: $toolId, deploymentId: $deploymentId) { sequence ...HealthEvent }
  }`,
  task: `subscription TaskEvents($after: String, $toolId: ID) {
    event: taskUpdated(after: $after, toolId: $toolId) { sequence at ...TaskEvent }
  }`,
  tool: `subscription ToolEvents($after: String, $toolId: ID) {
    event: toolChanged(after: $after, id: $toolId) { sequence at ...ToolEvent }
  }`,
};

/** Where the logs begin and end, and what the filters name. */
export const RANGES_QUERY = `query EventLogs(
  $deployment: Boolean! $health: Boolean! $task: Boolean! $tool: Boolean!
  $toolId: ID $ofTool: Boolean! $deploymentId: ID $ofDeployment: Boolean!
) {
  deployment: deploymentEventLog @include(if: $deployment) { oldestSequence latestSequence }
  health: deploymentHealthLog @include(if: $health) { oldestSequence latestSequence }
  task: taskLog @include(if: $task) { oldestSequence latestSequence }
  tool: toolLog @include(if: $tool) { oldestSequence latestSequence }
  theTool: tool(id: $toolId) @include(if: $ofTool) { id }
  theDeployment: deployment(id: $deploymentId) @include(if: $ofDeployment) { id }
}`;

/** The texts of the streams' operations: Toolyard's own, which a safelist need not have. */
export const eventOperations: readonly string[] = [RANGES_QUERY, ...TOPICS.map((topic) => queryOf(topic))];

/** One log as a schema has it. */
export interface EventLog {
  /** The subscription's text. */
  query: string;
  /** Whether it can be cut down to a deployment. */
  isOfDeployments: boolean;
  /** An event as `data` of the envelope. */
  data: Answer;
}

/** The further fields that a subscription selects of an event, besides those in `data`. */
export interface GraphEvent {
  sequence: string;
  at?: string;
  check?: { at: string };
}

/** @param components Gets the schemas of `data` @throws GraphQLError where the schema, another graph's, lacks a log */
export function createEventLogs(schema: GraphQLSchema, components: Components): Record<Topic, EventLog> {
  function logOf(topic: Topic): EventLog {
    const query = queryOf(topic);
    const document = parse(query, { noLocation: true });
    const [error] = validate(schema, document);
    if (error) throw new GraphQLError(`The log of ${topic} events: ${error.message}`, { originalError: error });
    const [operation] = document.definitions;
    const event = operation?.kind === Kind.OPERATION_DEFINITION ? operation.selectionSet.selections[0] : undefined;
    const selections = event?.kind === Kind.FIELD ? event.selectionSet : undefined;
    const fragment = selections?.selections.filter(({ kind }) => kind === Kind.FRAGMENT_SPREAD) ?? [];
    const field = event?.kind === Kind.FIELD ? event.name.value : "";
    const type = getNamedType(schema.getSubscriptionType()?.getFields()[field]?.type);
    if (!isObjectType(type) || !selections) throw new GraphQLError(`There are no ${topic} events in this graph.`);
    const data = createAnswers(schema, document, components)(type, { ...selections, selections: fragment });
    return { query, isOfDeployments: query.includes("$deploymentId"), data };
  }
  return {
    deployment: logOf("deployment"),
    health: logOf("health"),
    task: logOf("task"),
    tool: logOf("tool"),
  };
}

function queryOf(topic: Topic): string {
  return withFragments(subscriptions[topic]);
}
