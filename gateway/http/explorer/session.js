/**
 * The caller of this page: nobody, a user who logged in, or the owner of a pasted token.
 *
 * It is kept in the session's store: a reload keeps it, closing the tab ends it, and no browser sends it on its own, as it would a
 * cookie, so no other site's page can use it. Scripts of this origin can read it; those are the page's own files (see the
 * Content-Security-Policy). Open tabs of this page share a login and tell each other of its tokens, because a refresh token is good
 * once: two tabs with the same one would end the login for both.
 */

/** Before an access token ends by this much, the next one is asked for; by tabs at different times, so that one asks for all. */
const AHEAD_MS = 60_000 + Math.random() * 30_000;
const LOOK_MS = 5_000;
/** How long a tab waits for the other tabs' answer. */
const OTHERS_MS = 150;

/**
 * @param ask Runs an operation without a credential: `(query, variables) => Promise<data>`. Throws an Error in words, with the `code` of
 *   a GraphQL error; without a code nothing was answered.
 * @param key Of the store and the channel: another Toolyard may be on this origin, at another path.
 */
export function createSession({ ask, key }) {
  const listeners = new Set();
  const channel = new BroadcastChannel(key);
  let held = read();
  let problem = "";
  let renewing = null;

  function read() {
    try {
      return JSON.parse(sessionStorage.getItem(key));
    } catch {
      return null;
    }
  }

  /** @param why The message to show about it */
  function hold(next, why = "") {
    held = next;
    problem = why;
    if (next === null) sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, JSON.stringify(next));
    for (const listener of listeners) listener();
  }

  function say(why) {
    if (problem === why) return;
    problem = why;
    for (const listener of listeners) listener();
  }

  const begun = ({ accessToken, refreshToken, expiresIn, user }, id) => ({
    id,
    username: user.username,
    accessToken,
    refreshToken,
    expiresAt: Date.now() + expiresIn * 1000,
  });

  const isLogin = () => held?.refreshToken !== undefined;
  const leftMs = () => (held?.expiresAt ?? Infinity) - Date.now();

  // A new tab asks the others for their login; one that had it before, for its current state.
  const self = randomId();
  channel.addEventListener("message", ({ data: { asks, from, has, to, ended, why } }) => {
    if (asks !== undefined && isLogin() && (asks === null || asks === held.id))
      channel.postMessage({ has: held, to: from });
    const isMine = held === null ? to === self : has?.id === held.id;
    if (has && isMine && has.expiresAt > (held?.expiresAt ?? 0)) hold(has);
    if (ended !== undefined && ended === held?.id) hold(null, why);
  });
  channel.postMessage({ asks: held?.id ?? null, from: self });

  /** One tab at a time, for they may all wake at once. Browsers lock for HTTPS and loopback pages only. */
  function refresh() {
    const { id, refreshToken } = held ?? {};
    return navigator.locks
      ? navigator.locks.request(key, () => exchange(id, refreshToken))
      : exchange(id, refreshToken);
  }

  async function exchange(id, refreshToken) {
    channel.postMessage({ asks: id, from: self });
    await new Promise((resolve) => setTimeout(resolve, OTHERS_MS));
    // Another tab has done it, or has logged out.
    if (held?.refreshToken !== refreshToken || !isLogin()) return isLogin();
    try {
      const { refreshSession } = await ask(
        "mutation Refresh($token: String!) { refreshSession(refreshToken: $token) { accessToken refreshToken expiresIn user { username } } }",
        { token: refreshToken },
      );
      // Logged out meanwhile.
      if (held?.refreshToken !== refreshToken) return held !== null;
      hold(begun(refreshSession, id));
      channel.postMessage({ has: held });
      return true;
    } catch (error) {
      if (held?.refreshToken !== refreshToken) return held !== null;
      if (error.code === "UNAUTHENTICATED" || error.code === "FORBIDDEN") {
        const why = `Your login has ended (${error.message.replace(/\.$/, "")}). Log in again.`;
        hold(null, why);
        channel.postMessage({ ended: id, why });
      } else say(`The login cannot be renewed now: ${error.message} It is tried again.`);
      return false;
    }
  }

  /** Asks for the next token, once for all callers. Returns whether there is one. */
  function renew() {
    renewing ??= refresh().finally(() => (renewing = null));
    return renewing;
  }

  function look() {
    if (isLogin() && leftMs() < AHEAD_MS) void renew();
    else if (held && !isLogin() && leftMs() <= 0) hold(null, "The token has ended. Log in, or use another one.");
    for (const listener of listeners) listener();
  }
  setInterval(look, LOOK_MS);
  // Timers stand still while a computer sleeps.
  document.addEventListener("visibilitychange", () => document.hidden || look());

  return {
    /** `{ username?, minutesLeft, problem, isAnonymous }` */
    state: () => ({
      isAnonymous: held === null,
      username: held?.username ?? null,
      minutesLeft: held?.expiresAt === undefined ? null : Math.max(0, Math.round(leftMs() / 60_000)),
      problem,
    }),
    /** The identity behind these operations: another value, another caller. */
    identity: () => held?.id ?? null,
    onChange: (listener) => listeners.add(listener),
    renew,
    /** The credential to send; null for none. */
    async credential() {
      if (isLogin() && leftMs() < LOOK_MS) await renew();
      return held?.accessToken ?? null;
    },
    async logIn(username, password) {
      const { login } = await ask(
        "mutation LogIn($username: String!, $password: String!) { login(username: $username, password: $password) { accessToken refreshToken expiresIn user { username } } }",
        { username, password },
      );
      hold(begun(login, randomId()));
    },
    useToken(token) {
      hold({ id: token, accessToken: token, ...endOf(token) });
    },
    async logOut() {
      const { id, accessToken } = held ?? {};
      const wasLogin = isLogin();
      hold(null);
      channel.postMessage({ ended: id, why: "" });
      // It ends here in any case; told to Toolyard, it ends everywhere.
      if (wasLogin) await ask("mutation LogOut { logout }", {}, accessToken).catch(() => undefined);
    },
  };
}

function randomId() {
  return crypto.getRandomValues(new Uint32Array(4)).join("-");
}

/** The expiry of a token that gives one (RFC 7519); an API key does not. */
function endOf(token) {
  try {
    const { exp } = JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
    return typeof exp === "number" ? { expiresAt: exp * 1000 } : {};
  } catch {
    return {};
  }
}
