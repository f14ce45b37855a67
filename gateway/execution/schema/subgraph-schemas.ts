import {
  buildASTSchema,
  DirectiveLocation,
  Kind,
  parse,
  parseType,
  specifiedScalarTypes,
  type ConstDirectiveNode,
  type DefinitionNode,
  type DocumentNode,
  type FieldDefinitionNode,
  type GraphQLSchema,
  type OperationTypeNode,
  type TypeNode,
} from "graphql";
import { booleanArgument, directivesOf, graphOf, readGraphNames } from "./subgraph-types.ts";
import { stringArgument } from "./supergraph.ts";

/** The schema that a subgraph has, as far as the supergraph tells: requests to it are valid against this. */
export function createSubgraphSchemas({ definitions }: DocumentNode): (subgraph: string) => GraphQLSchema {
  const graphs = new Map([...readGraphNames(definitions)].map(([graph, name]) => [name, graph]));
  const schemas = new Map<string, GraphQLSchema>();
  return (subgraph) => {
    let schema = schemas.get(subgraph);
    if (!schema) {
      const document = subgraphDocument(definitions, graphs.get(subgraph) ?? "");
      schemas.set(subgraph, (schema = buildASTSchema(document, { assumeValid: true, assumeValidSDL: true })));
    }
    return schema;
  };
}

const entitySdl = parse("scalar _Any type Query { _entities(representations: [_Any!]!): [_Entity]! }", {
  noLocation: true,
}).definitions;

function subgraphDocument(definitions: readonly DefinitionNode[], graph: string): DocumentNode {
  const rootNames = new Map<string, string>();
  const entities: string[] = [];
  const own = definitions.flatMap((definition): DefinitionNode[] => {
    if (definition.kind === Kind.SCHEMA_DEFINITION)
      for (const { operation, type } of definition.operationTypes) rootNames.set(operation, type.name.value);
    if (!("name" in definition) || !definition.name || definition.kind === Kind.DIRECTIVE_DEFINITION) return [];
    const placed = directivesOf(definition.directives as ConstDirectiveNode[], "join__type").filter(isHere);
    if (placed.length === 0) return [];
    const { name } = definition;
    switch (definition.kind) {
      case Kind.OBJECT_TYPE_DEFINITION:
      case Kind.INTERFACE_TYPE_DEFINITION: {
        const isInterfaceObject = placed.some((directive) => booleanArgument(directive, "isInterfaceObject"));
        const isObject = isInterfaceObject || definition.kind === Kind.OBJECT_TYPE_DEFINITION;
        if (isObject && placed.some((directive) => stringArgument(directive, "key") !== undefined))
          entities.push(name.value);
        const interfaces = directivesOf(definition.directives, "join__implements")
          .filter(isHere)
          .flatMap((directive) => namedType(stringArgument(directive, "interface") ?? ""));
        return [
          {
            kind: isObject ? Kind.OBJECT_TYPE_DEFINITION : Kind.INTERFACE_TYPE_DEFINITION,
            name,
            interfaces,
            fields: fieldsHere(definition.fields),
          },
        ];
      }
      case Kind.UNION_TYPE_DEFINITION: {
        const members = directivesOf(definition.directives, "join__unionMember").filter(isHere);
        const types = members.map((directive) => namedType(stringArgument(directive, "member") ?? ""));
        return [{ kind: definition.kind, name, types }];
      }
      case Kind.ENUM_TYPE_DEFINITION: {
        const isPlaced = ({ directives }: { directives?: readonly ConstDirectiveNode[] }) =>
          directivesOf(directives, "join__enumValue");
        const values = (definition.values ?? []).filter(
          (value) => isPlaced(value).length === 0 || isPlaced(value).some(isHere),
        );
        return [
          { kind: definition.kind, name, values: values.map(({ kind, name: value }) => ({ kind, name: value })) },
        ];
      }
      case Kind.INPUT_OBJECT_TYPE_DEFINITION: {
        const inputs = (definition.fields ?? []).flatMap(({ directives, ...field }) => {
          const at = directivesOf(directives, "join__inputField");
          const here = at.find(isHere);
          if (at.length > 0 && !here) return [];
          const type = here && stringArgument(here, "type");
          return [{ ...field, type: type === undefined ? field.type : parseType(type, { noLocation: true }) }];
        });
        return [{ kind: definition.kind, name, fields: inputs }];
      }
      case Kind.SCALAR_TYPE_DEFINITION:
        return [{ kind: definition.kind, name }];
      default:
        return [];
    }
  });

  function isHere(directive: ConstDirectiveNode): boolean {
    return graphOf(directive) === graph;
  }

  function fieldsHere(fields: readonly FieldDefinitionNode[] = []): FieldDefinitionNode[] {
    return fields.flatMap(({ directives, arguments: args = [], ...field }) => {
      const placed = directivesOf(directives, "join__field");
      const here = placed.find(isHere);
      if (placed.length > 0 && !here) return [];
      const type = here && stringArgument(here, "type");
      return [
        {
          ...field,
          arguments: args.map((argument) => ({ ...argument, directives: [] })),
          type: type === undefined ? field.type : parseType(type, { noLocation: true }),
        },
      ];
    });
  }

  const scalars = new Set(specifiedScalarTypes.map(({ name }) => name));
  const has = (typeName: string) =>
    scalars.has(typeName) || own.some((definition) => "name" in definition && definition.name?.value === typeName);
  // Those for operations' fields are common to all subgraphs.
  const directives = definitions.filter(
    (definition) =>
      definition.kind === Kind.DIRECTIVE_DEFINITION &&
      definition.locations.some(({ value }) => value === DirectiveLocation.FIELD) &&
      (definition.arguments ?? []).every(({ type }) => has(typeNameOf(type))),
  );

  const queryName = rootNames.get("query") ?? "Query";
  const isQuery = (definition: DefinitionNode) =>
    definition.kind === Kind.OBJECT_TYPE_DEFINITION && definition.name.value === queryName;
  const query = own.find(isQuery);
  const operationTypes = [...rootNames].filter(
    ([operation, name]) =>
      operation === "query" || own.some((definition) => "name" in definition && definition.name?.value === name),
  );
  const machinery = entities.length > 0 ? entitySdl : [];
  return {
    kind: Kind.DOCUMENT,
    definitions: [
      ...directives,
      ...own.filter((definition) => definition !== query),
      ...machinery.filter(({ kind }) => kind === Kind.SCALAR_TYPE_DEFINITION),
      ...(entities.length > 0
        ? [{ kind: Kind.UNION_TYPE_DEFINITION, name: nameNode("_Entity"), types: entities.map(namedType) } as const]
        : []),
      {
        kind: Kind.OBJECT_TYPE_DEFINITION,
        name: nameNode(queryName),
        fields: [query, ...machinery].flatMap((definition) =>
          definition?.kind === Kind.OBJECT_TYPE_DEFINITION ? (definition.fields ?? []) : [],
        ),
      },
      {
        kind: Kind.SCHEMA_DEFINITION,
        // The names of GraphQL's three operations, as the supergraph's schema definition has them.
        operationTypes: operationTypes.map(([operation, name]) => ({
          kind: Kind.OPERATION_TYPE_DEFINITION,
          operation: operation as OperationTypeNode,
          type: namedType(name),
        })),
      },
    ],
  };
}

const nameNode = (value: string) => ({ kind: Kind.NAME, value }) as const;
const namedType = (name: string) => ({ kind: Kind.NAMED_TYPE, name: nameNode(name) }) as const;

function typeNameOf(type: TypeNode): string {
  return type.kind === Kind.NAMED_TYPE ? type.name.value : typeNameOf(type.type);
}
