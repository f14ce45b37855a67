/** Set, to anything, on a `tools/list` by whoever wants to know whether the server serves: the call goes to what runs. */
export const probeHeader = "x-toolyard-probe";
