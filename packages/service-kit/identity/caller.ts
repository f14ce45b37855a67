import { ToolyardError } from "../errors/errors.ts";
import {
  PERMISSIONS,
  SCOPES,
  isGranted,
  isOfTools,
  isServicePermission,
  scopesInclude,
  type Permission,
  type Role,
  type Scope,
  type ServicePermission,
  type ShareAccess,
  type UserPermission,
} from "./permissions.ts";

/** How the caller proved who they are. */
export type Credential =
  | {
      type: "access-token";
      tokenId: string;
      /** Epoch ms when a password was last entered for this session; null when never. */
      passwordAt: number | null;
      issuedAt: number;
    }
  | { type: "api-key"; apiKeyId: string }
  | { type: "service" };

/** Plain data of a caller: what is signed into a header between gateway and subgraph. */
export interface CallerData {
  kind: "anonymous" | "user" | "service";
  /** User id, or `service:<name>`; null for anonymous. */
  subject: string | null;
  role: Role | null;
  scopes: Scope[];
  servicePermissions: ServicePermission[];
  credential: Credential | null;
  /** The tools that the credential is limited to, by id; null: it is not. */
  toolIds: string[] | null;
  /** Epoch ms when the credential ends; null when it does not. */
  expiresAt: number | null;
}

/** A thing that a caller would do something with. */
interface Held {
  /** Null: nobody's. */
  ownerId: string | null;
  /** The tool that it is or belongs to; null: none, so that no limited key has to do with it. */
  toolId: string | null;
  /** How the tool that it belongs to is shared with the caller; see `ToolShares`. @default null */
  shared?: ShareAccess | null;
}

/** What is nobody's and of no tool, such as a template. */
export const OF_NO_TOOL: Held = { ownerId: null, toolId: null };

/** A verified caller. Services ask it; it never asks back. */
export interface Caller extends CallerData {
  /** The user's id; null for anonymous and services. */
  userId: string | null;
  /** Why the credential that an anonymous caller sent is not good. Without another, such a caller may only log in. */
  refusal?: ToolyardError;
  /**
   * Whether the caller has the permission. Without `on`, the question is whether they would have it for some thing: their own, or one that is
   * shared with them, of a tool that their key is not limited away from.
   */
  can(permission: Permission, on?: Held): boolean;
  /**
   * `action` names the attempt where the permission's own words do not fit: it completes "You may not …".
   * @throws ToolyardError UNAUTHENTICATED for anonymous, FORBIDDEN naming the missing permission.
   */
  require(permission: Permission, on?: Held, action?: string): void;
  /** Whether the credential has to do with things of this tool: false only for API keys that are limited to others. To them it is not there. */
  reaches(toolId: string | null): boolean;
  /** Of these tools, those that the credential reaches; null is all, for both. */
  reachable(toolIds: readonly string[] | null): readonly string[] | null;
}

/** Fields of a caller that do not identify it: those that follow from others, and the reason for refusing an anonymous caller. */
type Derived = "userId" | "refusal" | "can" | "require" | "reaches" | "reachable";

/** All fields that tell one caller from another: every field of `Caller` that `Derived` does not name. */
export type CallerFields<Whole extends Caller = Caller> = Record<Exclude<keyof Whole, Derived>, unknown>;

/** A caller as plain data. */
export function callerData({
  kind,
  subject,
  role,
  scopes,
  servicePermissions,
  credential,
  toolIds,
  expiresAt,
}: Caller): CallerData {
  return { kind, subject, role, scopes, servicePermissions, credential, toolIds, expiresAt } satisfies CallerFields;
}

const keys = new WeakMap<Caller, string>();

/** Equal only for callers who cannot be told apart: the key of everything shared or kept for a caller. Made once for each object. */
export function callerKey(caller: Caller): string {
  let key = keys.get(caller);
  if (key === undefined) keys.set(caller, (key = JSON.stringify(callerData(caller))));
  return key;
}

export function createCaller(data: CallerData): Caller {
  const userId = data.kind === "user" ? data.subject : null;
  const { toolIds: limit } = data;
  const reaches: Caller["reaches"] = (toolId) => limit === null || (toolId !== null && limit.includes(toolId));
  const can: Caller["can"] = (permission, on) => {
    if (isServicePermission(permission)) {
      return data.kind === "service" && data.servicePermissions.includes(permission);
    }
    // A service principal may read what every role may read: it completes entities on behalf of no one.
    if (data.kind === "service")
      return PERMISSIONS[permission].VIEWER === "all" && PERMISSIONS[permission].scope === "READ";
    if (data.kind !== "user" || data.role === null) return false;
    if (isBeyondLimit(data, permission, on)) return false;
    const held = on && { owns: on.ownerId !== null && on.ownerId === userId, shared: on.shared ?? null };
    return isGranted(permission, data.role, data.scopes, held);
  };
  return {
    ...data,
    userId,
    can,
    reaches,
    reachable: (toolIds) => (limit === null ? toolIds : (toolIds ?? limit).filter(reaches)),
    require(permission, on, action) {
      if (can(permission, on)) return;
      if (data.kind === "anonymous") throw loginRequired();
      throw new ToolyardError("FORBIDDEN", refusal(data, permission, on, action));
    },
  };
}

/** For an anonymous caller, who may have sent a key in some other header. */
export function loginRequired(): ToolyardError {
  return new ToolyardError("UNAUTHENTICATED", "Log in first: send `Authorization: Bearer <access token or API key>`.");
}

/** Whether the credential is limited to tools, and this has nothing to do with them. */
function isBeyondLimit({ toolIds }: CallerData, permission: UserPermission, on: Held | undefined): boolean {
  return toolIds !== null && !(isOfTools(permission) && (on === undefined || toolIds.includes(on.toolId ?? "")));
}

function refusal(data: CallerData, permission: Permission, on: Held | undefined, tried: string | undefined): string {
  if (isServicePermission(permission)) return "This is for Toolyard's own services only.";
  const rule = PERMISSIONS[permission];
  const action = tried ?? rule.action;
  if (data.kind === "service") return `A service may not ${action}.`;
  const grant = data.role ? rule[data.role] : "none";
  // The role first: another credential would not help a user whose role forbids it.
  if (grant !== "none" && !scopesInclude(data.scopes, rule.scope)) {
    return `You may not ${action} with this credential: it lacks the scope ${rule.scope}.`;
  }
  if (isBeyondLimit(data, permission, on))
    return `You may not ${action} with this API key: it is limited to certain tools.`;
  if (grant === "own" && on) return `You may not ${action}: it belongs to somebody else.`;
  if (grant === "shared")
    return `You may not ${action} as ${data.role}, except those that their authors share with you for it.`;
  const roles = (["VIEWER", "DEVELOPER", "ADMIN"] as const).filter((role) => rule[role] !== "none");
  return `You may not ${action} as ${data.role ?? "nobody"}: that takes the role ${roles[0]}, which an administrator can give.`;
}

export const anonymous: Caller = createCaller({
  kind: "anonymous",
  subject: null,
  role: null,
  scopes: [],
  servicePermissions: [],
  credential: null,
  toolIds: null,
  expiresAt: null,
});

/** A caller who sent a bad credential: anonymous, until they have logged in. */
export function createStranger(refusal: ToolyardError): Caller {
  return { ...anonymous, refusal };
}

/** A service principal inside this process. `name` as in `service:<name>`. */
export function createServiceCaller(name: string, permissions: readonly ServicePermission[]): Caller {
  return createCaller({
    kind: "service",
    subject: `service:${name}`,
    role: null,
    scopes: [],
    servicePermissions: [...permissions],
    credential: { type: "service" },
    toolIds: null,
    expiresAt: null,
  });
}

/** A user by role, with all scopes: for tests, and for work that continues as a user after their request. */
export function createUserCaller(userId: string, role: Role, scopes: readonly Scope[] = SCOPES): Caller {
  return createCaller({
    kind: "user",
    subject: userId,
    role,
    scopes: [...scopes],
    servicePermissions: [],
    credential: null,
    toolIds: null,
    expiresAt: null,
  });
}
