/** How calls are shared among a deployment's replicas; `Balance` of the graph says what each means. */
export const BALANCES = ["LEAST_OUTSTANDING", "ROUND_ROBIN", "STICKY"] as const;
export type Balance = (typeof BALANCES)[number];
export const DEFAULT_BALANCE: Balance = "LEAST_OUTSTANDING";
