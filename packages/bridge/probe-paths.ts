/** Answer 200 to anybody: the one while the bridge lives, the other while its server serves, else 503 with the reason. */
export const LIVENESS_PATH = "/health";
export const READINESS_PATH = "/ready";
