import { callbackDriver, multipartDriver, sseDistinctDriver, sseSingleDriver } from "./fixtures/http-clients.ts";
import { legacyWsDriver, transportWsDriver } from "./fixtures/socket-clients.ts";
import { describeProtocol } from "./subscriptions.contract.ts";

describeProtocol(transportWsDriver);
describeProtocol(legacyWsDriver);
describeProtocol(sseDistinctDriver);
describeProtocol(sseSingleDriver);
describeProtocol(multipartDriver);
describeProtocol(callbackDriver);
