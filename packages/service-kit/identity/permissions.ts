/**
 * The one table of permissions. The design keeps it in identity; it lies here because every subgraph checks by itself and
 * none may import another.
 */
export const ROLES = ["ADMIN", "DEVELOPER", "VIEWER"] as const;
export type Role = (typeof ROLES)[number];
export const SCOPES = ["READ", "WRITE", "INVOKE", "ADMIN"] as const;
export type Scope = (typeof SCOPES)[number];

/** What an author lets another user do with a tool; each includes those before it. */
export const SHARE_ACCESS = ["VIEW", "USE", "EDIT"] as const;
export type ShareAccess = (typeof SHARE_ACCESS)[number];

/** `own`: things of one's own, and those shared with the rule's `share`; `shared`: only the latter. */
type Grant = "all" | "own" | "shared" | "none";
interface Rule {
  scope: Scope;
  ADMIN: Grant;
  DEVELOPER: Grant;
  VIEWER: Grant;
  /** The least access by which a share of the tool counts as owning it. Without it, sharing gives this permission to nobody. */
  share?: ShareAccess;
  /** Whether an API key that is limited to tools can have it, on these and what belongs to them. @default false */
  ofTools?: true;
  /** Completes "You may not …". */
  action: string;
}

const self = { scope: "READ", ADMIN: "all", DEVELOPER: "all", VIEWER: "all" } as const;
const read = { ...self, ofTools: true } as const;
const author = { scope: "WRITE", ADMIN: "all", DEVELOPER: "own", VIEWER: "none" } as const;
const editor = { ...author, share: "EDIT", ofTools: true } as const;
const administrator = { scope: "ADMIN", ADMIN: "all", DEVELOPER: "none", VIEWER: "none" } as const;

export const PERMISSIONS = {
  "tool:read": { ...read, action: "read tools" },
  "document:read": { ...read, action: "read documents" },
  "deployment:read": { ...read, action: "read deployments" },
  "usage:read": { ...read, action: "read usage" },
  "task:read": { ...read, action: "read tasks" },
  /** Launch environment and logs, which may hold a user's data. */
  "deployment:inspect": {
    scope: "READ",
    ADMIN: "all",
    DEVELOPER: "own",
    VIEWER: "none",
    share: "VIEW",
    ofTools: true,
    action: "see a deployment's logs or launch environment",
  },
  "user:read-self": { ...self, action: "read your own account" },
  "tool:write": { ...editor, action: "change this tool" },
  /** Its effects outlast a key, and so no limited one has it. */
  "tool:share": { ...author, action: "share this tool, delete or restore it" },
  "document:write": { ...editor, action: "change this document" },
  "deployment:write": { ...editor, action: "deploy, scale, restart or stop this tool" },
  "analysis:write": { ...editor, action: "start analyses of this tool" },
  "process:launch": {
    scope: "WRITE",
    ADMIN: "all",
    DEVELOPER: "all",
    VIEWER: "none",
    ofTools: true,
    action: "start programs on Toolyard's host",
  },
  "tool:invoke": {
    scope: "INVOKE",
    ADMIN: "all",
    DEVELOPER: "all",
    VIEWER: "shared",
    share: "USE",
    ofTools: true,
    action: "call deployed tools",
  },
  "release:promote": { ...author, ofTools: true, action: "promote or roll back this tool" },
  "release:approve": { ...administrator, action: "approve releases" },
  "metrics:read": { ...administrator, action: "read metrics" },
  "audit:read": { ...administrator, action: "read the audit log" },
  "user:admin": { ...administrator, action: "manage users" },
  "credential:write": {
    scope: "WRITE",
    ADMIN: "all",
    DEVELOPER: "all",
    VIEWER: "all",
    action: "manage your own credentials",
  },
} as const satisfies Record<string, Rule>;

/** Permissions of service principals, granted one by one when a principal's token is minted. */
export const SERVICE_PERMISSIONS = [
  "internal:routes",
  "internal:usage",
  "internal:introspect",
  "internal:revocations",
  "internal:sealed-launch",
  "internal:tool-shares",
  "internal:stop-deployments",
  "internal:github-event",
  "internal:sync-documents",
  "internal:metrics",
  "internal:passage",
  "internal:hosts",
] as const;

/** Permissions of a proxy's credential. */
export const PROXY_PERMISSIONS = [
  "internal:routes",
  "internal:usage",
  "internal:introspect",
  "internal:revocations",
  "internal:tool-shares",
] as const satisfies readonly (typeof SERVICE_PERMISSIONS)[number][];

export type UserPermission = keyof typeof PERMISSIONS;
export type ServicePermission = (typeof SERVICE_PERMISSIONS)[number];
export type Permission = UserPermission | ServicePermission;

export function isServicePermission(value: string): value is ServicePermission {
  return (SERVICE_PERMISSIONS as readonly string[]).includes(value);
}

/** WRITE and ADMIN include READ, since changes are answered with the changed thing; no other scope includes another. */
export function scopesInclude(scopes: readonly Scope[], wanted: Scope): boolean {
  return scopes.includes(wanted) || (wanted === "READ" && (scopes.includes("WRITE") || scopes.includes("ADMIN")));
}

/** Whether a key that is limited to tools can have the permission on them. */
export function isOfTools(permission: UserPermission): boolean {
  const rule: Rule = PERMISSIONS[permission];
  return rule.ofTools === true;
}

/** Whose a thing is to the caller. */
export interface Holding {
  owns: boolean;
  /** The access by which its tool is shared with the caller; null when it is not. */
  shared: ShareAccess | null;
}

/**
 * Whether a role with these scopes has the permission. For permissions that depend on whose a thing is, `held` says that; undefined asks
 * whether they would have the permission for some thing.
 */
export function isGranted(
  permission: UserPermission,
  role: Role,
  scopes: readonly Scope[],
  held?: Partial<Holding>,
): boolean {
  const rule: Rule = PERMISSIONS[permission];
  if (!scopesInclude(scopes, rule.scope)) return false;
  const grant = rule[role];
  if (grant === "all") return true;
  if (grant === "none") return false;
  return held === undefined || (grant === "own" && held.owns === true) || isShared(rule, held.shared ?? null);
}

function isShared({ share }: Rule, access: ShareAccess | null): boolean {
  return share !== undefined && access !== null && SHARE_ACCESS.indexOf(access) >= SHARE_ACCESS.indexOf(share);
}
