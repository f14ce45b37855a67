import type { GraphQLScalarType } from "graphql";

/** Properties of any of a union: an entity is made from its record or from a reference, which is resolved first. */
type KeysOfAny<Parent> = Parent extends unknown ? keyof Parent : never;

/** Fields of a type that its source object does not have. `__resolveReference` and its like are not fields. */
type Unresolved<Fields, Parent> = Exclude<keyof Fields, KeysOfAny<Parent> | `__${string}`>;

type MissingOf<Resolvers, Parents, Type extends keyof Resolvers> =
  NonNullable<Resolvers[Type]> extends GraphQLScalarType
    ? never
    : Unresolved<NonNullable<Resolvers[Type]>, Type extends keyof Parents ? Parents[Type] : object>;

/**
 * Codegen's resolvers, all of which are optional, with those made required that GraphQL's default resolver cannot replace: of
 * fields for which the parent has no property.
 */
export type CompleteResolvers<Resolvers, Parents> = Resolvers & {
  [Type in keyof Resolvers as [MissingOf<Resolvers, Parents, Type>] extends [never] ? never : Type]-?: {
    [Field in keyof NonNullable<Resolvers[Type]> & MissingOf<Resolvers, Parents, Type>]-?: NonNullable<
      Resolvers[Type]
    >[Field];
  };
};
