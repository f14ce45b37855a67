// Runs in the browser, after the bundles of React, GraphiQL and graphql-ws: it joins them and keeps the token.
"use strict";

(() => {
  const { React, ReactDOM, GraphiQL, graphqlWs } = window;
  const STORED = "toolyard-token";
  const input = document.getElementById("token");
  const state = document.getElementById("state");

  // In the session's store: gone with the tab, and never sent by the browser on its own.
  const tokenOf = () => sessionStorage.getItem(STORED) ?? "";
  const showState = () => {
    state.textContent = tokenOf() === "" ? "asking as nobody" : "asking with this token";
  };
  input.value = tokenOf();
  showState();

  const address = new URL(window.location.pathname, window.location.href);
  const socketAddress = new URL(address);
  socketAddress.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  const sockets = graphqlWs.createClient({
    url: socketAddress.href,
    lazy: true,
    // A refused credential stays refused: say so instead of trying it again for half a minute.
    shouldRetry: (event) => event instanceof CloseEvent && event.code !== 4403,
    connectionParams: () => (tokenOf() === "" ? {} : { authorization: `Bearer ${tokenOf()}` }),
  });

  const setToken = (token) => {
    if (token === "") sessionStorage.removeItem(STORED);
    else sessionStorage.setItem(STORED, token);
    showState();
    // Open streams were authenticated with the one before; clients connect again by themselves.
    sockets.terminate();
  };
  input.addEventListener("change", () => setToken(input.value.trim().replace(/^Bearer +/i, "")));
  document.getElementById("forget").addEventListener("click", () => {
    input.value = "";
    setToken("");
  });
  document.getElementById("credential").addEventListener("submit", (event) => {
    event.preventDefault();
    setToken(input.value.trim());
  });

  const fetcher = GraphiQL.createFetcher({
    url: address.href,
    wsClient: sockets,
    fetch: (resource, options) => {
      const headers = new Headers(options.headers);
      // What is written in GraphiQL's own pane of headers goes first.
      if (tokenOf() !== "" && !headers.has("authorization")) headers.set("authorization", `Bearer ${tokenOf()}`);
      return fetch(resource, { ...options, headers });
    },
  });

  // GraphiQL reads what is typed a moment later than it runs it: what runs now may not be what it takes it for.
  const readAgain = (params, options) => {
    try {
      const documentAST = GraphiQL.GraphQL.parse(params.query);
      const names = documentAST.definitions.flatMap((node) =>
        node.kind === "OperationDefinition" ? [node.name?.value] : [],
      );
      const operationName = names.length === 1 ? names[0] : params.operationName;
      return [
        { ...params, operationName },
        { ...options, documentAST },
      ];
    } catch {
      // The server says what is wrong with it.
      return [params, options];
    }
  };

  const container = document.getElementById("graphiql");
  container.textContent = "";
  ReactDOM.createRoot(container).render(
    React.createElement(GraphiQL, {
      fetcher: (params, options) => fetcher(...readAgain(params, options)),
      // A login is an operation with a password in it: what was typed is gone with the tab, too.
      storage: sessionStorage,
      shouldPersistHeaders: false,
      defaultEditorToolsVisibility: true,
      defaultQuery: "# Ctrl-Space completes, Ctrl-Enter runs. Subscriptions run, too.\n\n{\n  __typename\n}\n",
    }),
  );
})();
