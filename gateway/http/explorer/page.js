/** Runs in the browser, after the bundles of React, GraphiQL and graphql-ws: joins them with the login at the top. */
import { LOGGED_IN, WATCH, WELCOME } from "./first-queries.js";
import { createSession } from "./session.js";
import { ask, createFetcher } from "./transport.js";

const { React, ReactDOM, GraphiQL } = window;
const find = (id) => document.getElementById(id);

// This page's own address, whatever a proxy in front calls it.
const url = new URL(window.location.pathname, window.location.href);
const session = createSession({
  ask: (query, variables, token) => ask(url, query, variables, token),
  key: `toolyard-session ${url.pathname}`,
});

const show = (element, text) => {
  // Announced again, it would be read again.
  if (element.textContent !== text) element.textContent = text;
};
const tell = (element, text) => {
  element.hidden = text === "";
  show(element, text);
};

// --- The caller ---------------------------------------------------------------------------------------------------------------

const login = find("login");
const token = find("token");
// A gateway for a third-party supergraph knows only that issuer's tokens.
const hasLogin = document.documentElement.dataset.login !== "none";
let chosen = hasLogin ? login : token;
/** The error for the typed text. */
let refusal = "";
find("token").querySelector("[data-show]").hidden = !hasLogin;

function showSession() {
  const { isAnonymous, username, minutesLeft, problem } = session.state();
  const nobody = hasLogin ? "Not logged in." : "Asking without a token.";
  const who = isAnonymous ? nobody : username === null ? "Asking with a token" : `Logged in as ${username}`;
  show(find("who").firstElementChild, who);
  show(find("left"), isAnonymous ? "" : minutesLeft === null ? "." : `, ${minutesLeft} min left`);
  tell(find("problem"), refusal || problem);
  for (const form of [login, token]) form.hidden = !isAnonymous || form !== chosen;
  find("logout").hidden = isAnonymous;
  show(find("logout"), username === null ? "Forget it" : "Log out");
}
session.onChange(showSession);
showSession();

for (const button of document.querySelectorAll("[data-show]"))
  button.addEventListener("click", () => {
    chosen = find(button.dataset.show);
    refusal = "";
    showSession();
    chosen.elements[0].focus();
  });

async function logIn() {
  const { username, password } = login.elements;
  const [button] = login.querySelectorAll("button");
  refusal = "";
  button.disabled = true;
  try {
    await session.logIn(username.value.trim(), password.value);
    login.reset();
    begun();
  } catch (error) {
    refusal = error.message;
    showSession();
    password.select();
  } finally {
    button.disabled = false;
  }
}
login.addEventListener("submit", (event) => {
  event.preventDefault();
  void logIn();
});

token.addEventListener("submit", (event) => {
  event.preventDefault();
  session.useToken(token.elements.token.value.trim().replace(/^Bearer +/i, ""));
  token.reset();
  begun();
});

find("logout").addEventListener("click", () => {
  void session.logOut();
  chosen.elements[0].focus();
});

/**
 * The form is gone: moves the focus to the editor. A first query that nobody has changed shows what a login adds. Who is quick logs in
 * before there is an editor.
 */
function begun() {
  const editor = editorOf(".graphiql-query-editor");
  if (!editor) return void requestAnimationFrame(begun);
  if (hasLogin && editor.getValue() === WELCOME) {
    editor.setValue(LOGGED_IN);
    runFirst(editor);
  }
  editor.focus();
}

/** GraphiQL does nothing at a click while the place of the result is not there yet. */
function runFirst(editor) {
  const before = asked;
  document.querySelector(".graphiql-execute-button")?.click();
  if (asked === before && editor.getValue() === LOGGED_IN) requestAnimationFrame(() => runFirst(editor));
}

// --- GraphiQL -----------------------------------------------------------------------------------------------------------------

const container = find("graphiql");
const send = createFetcher({ url, session, notify: (text) => tell(find("notice"), text) });
/** How many operations GraphiQL has asked for. */
let asked = 0;
const fetcher = (...operation) => {
  asked += 1;
  return send(...operation);
};
// GraphiQL keeps its tabs when they are half a second old, and the open one's text once there is an editor, which on a slow machine is later: reloaded
// in between, it would open a tab without a text.
if (sessionStorage.getItem("graphiql:query") === null) sessionStorage.removeItem("graphiql:tabState");
container.textContent = "";
ReactDOM.createRoot(container).render(
  React.createElement(
    GraphiQL,
    {
      fetcher,
      // The typed text is gone with the tab: it may have a password in it.
      storage: sessionStorage,
      shouldPersistHeaders: false,
      // On a small screen there is no room to spare.
      defaultEditorToolsVisibility: window.innerWidth > 640,
      defaultQuery: WELCOME,
      defaultTabs: hasLogin
        ? [{ query: session.state().isAnonymous ? WELCOME : LOGGED_IN }, { query: WATCH }]
        : [{ query: WELCOME }],
    },
    // Not its own, which leads away from here.
    React.createElement(GraphiQL.Logo, null, " "),
  ),
);

const editorOf = (place) => document.querySelector(`${place} .CodeMirror`)?.CodeMirror;

/** GraphiQL gives its editors no accessible names, and Tab would never leave them. */
const EDITORS = {
  ".graphiql-query-editor": "Query. Ctrl-Enter runs it, Ctrl-Space completes.",
  '[aria-label="Variables"]': "Variables, as JSON",
  '[aria-label="Headers"]': "Headers, as JSON",
  ".result-window": "Result",
};
const named = new WeakSet();
new MutationObserver(() => {
  for (const [place, name] of Object.entries(EDITORS)) {
    const editor = editorOf(place);
    if (!editor || named.has(editor)) continue;
    named.add(editor);
    editor.getInputField().setAttribute("aria-label", name);
    editor.addKeyMap({ Tab: false, "Shift-Tab": false });
  }
}).observe(container, { childList: true, subtree: true });
