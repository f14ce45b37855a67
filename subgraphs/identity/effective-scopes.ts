import { PERMISSIONS, SCOPES, scopesInclude, type Role, type Scope } from "@toolyard/service-kit";

/** The scopes that are of any use to a role: those of the permissions it has. */
export function scopesOfRole(role: Role): Scope[] {
  const rules = Object.values(PERMISSIONS);
  return SCOPES.filter((scope) => rules.some((rule) => rule.scope === scope && rule[role] !== "none"));
}

/** A credential's scopes, with those they include, reduced to its owner's role. */
export function effectiveScopes(role: Role, scopes: readonly Scope[]): Scope[] {
  return scopesOfRole(role).filter((scope) => scopesInclude(scopes, scope));
}
