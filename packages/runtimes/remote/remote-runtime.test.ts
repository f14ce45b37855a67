import { remoteContract } from "../runtime.contract.ts";
import { createRemoteRuntime } from "./remote-runtime.ts";

remoteContract("remote", () => createRemoteRuntime());
