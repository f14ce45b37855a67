import type { Command } from "../command.ts";
import { apiKeys, createApiKey, revokeApiKey } from "./api-keys.ts";
import { call, tools } from "./call.ts";
import { connect } from "./connect.ts";
import { deploy } from "./deploy.ts";
import { list, remove, restart, restore, stop } from "./deployed.ts";
import { importServers } from "./import.ts";
import { logs } from "./logs.ts";
import { register } from "./register.ts";
import { login, logout, token } from "./session.ts";
import { share, unshare } from "./sharing.ts";
import { deployTemplate, templates } from "./templates.ts";
import { test } from "./test.ts";
import { setRole, users } from "./users.ts";
import { watch } from "./watch.ts";

/** In the order in which they are used. */
export const commands: readonly Command[] = [
  login,
  register,
  importServers,
  deploy,
  templates,
  deployTemplate,
  call,
  tools,
  test,
  list,
  logs,
  watch,
  restart,
  stop,
  remove,
  restore,
  share,
  unshare,
  users,
  setRole,
  connect,
  apiKeys,
  createApiKey,
  revokeApiKey,
  token,
  logout,
];
