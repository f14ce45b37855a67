/** Defaults of commands' options; the banner of `npm start` leaves these out. */
export const DEFAULT_URL = "http://127.0.0.1:4000";
export const DEFAULT_USERNAME = "admin";
