/** Sends GraphiQL's operations to the graph: by POST, subscriptions by graphql-transport-ws; and puts failures in words. */

const { parse } = window.GraphiQL.GraphQL;

/** Tries to open a broken subscription again, with a longer wait before each. */
const TRIES = 6;
const FIRST_WAIT_MS = 500;

/** The close codes of the protocol and of WebSockets, in words for this page's users. */
const CLOSED = {
  1001: "Toolyard is shutting down",
  1006: "the connection broke off",
  1009: "the message was too large",
  1012: "Toolyard is restarting",
  1013: "Toolyard is too busy",
  4400: "the server did not understand the message",
  4401: "the credential was refused",
  4403: "the credential was refused",
  4406: "the server does not speak graphql-transport-ws",
  4408: "the connection took too long to begin",
  4429: "too many requests to begin",
  4500: "the server failed",
};
/** After these another try may succeed. */
const PASSING = new Set([1001, 1005, 1006, 1011, 1012, 1013, 4408, 4500]);
/** By the page itself. */
const TERMINATED = 4499;
const OF_CREDENTIAL = new Set([4401, 4403]);

/** An answer of errors in words. */
const failed = (message) => ({ errors: [{ message }] });

/** Sends an operation. Throws an Error in words, with a `code` when it is GraphQL's. */
async function post(url, params, headers) {
  let response;
  try {
    response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/json", ...headers },
      body: JSON.stringify(params),
    });
  } catch {
    throw new Error(`${url.host} does not answer. Is Toolyard running, and are you connected?`);
  }
  const text = await response.text();
  try {
    return { status: response.status, result: JSON.parse(text) };
  } catch {
    const what = `${response.status} ${response.statusText}`.trim();
    throw new Error(`${url.host} answered ${what}, and not with GraphQL. Is Toolyard running behind it?`);
  }
}

/** An operation of the page's own: answers its data. */
export async function ask(url, query, variables, token) {
  const { result } = await post(url, { query, variables }, token ? { authorization: `Bearer ${token}` } : {});
  const [error] = result.errors ?? [];
  if (error) throw Object.assign(new Error(error.message), { code: error.extensions?.code });
  return result.data;
}

/**
 * @param notify Shows a sentence beside the results while it holds; "" takes it away.
 */
export function createFetcher({ url, session, notify }) {
  const socketUrl = new URL(url);
  socketUrl.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  /** A function for each open subscription, called when the caller changes. */
  const running = new Set();
  let identity = session.identity();
  session.onChange(() => {
    if (identity === session.identity()) return;
    identity = session.identity();
    for (const onChange of running) onChange();
  });

  /** Headers in GraphiQL's own pane come first. */
  async function headersOf(own) {
    const names = Object.keys(own).map((name) => name.toLowerCase());
    const token = names.includes("authorization") ? null : await session.credential();
    return { ...(token !== null && { authorization: `Bearer ${token}` }), ...own };
  }

  async function run(params, own) {
    try {
      const first = await post(url, params, await headersOf(own));
      // Nothing ran. The token may have been revoked, or this computer's clock be wrong.
      if (first.status === 401 && (await session.renew()))
        return (await post(url, params, await headersOf(own))).result;
      return first.result;
    } catch (error) {
      return failed(error.message);
    }
  }

  function subscribe(params, own) {
    return {
      subscribe(observer) {
        let isOver = false;
        let renewed = false;
        let tries = 0;
        let hasBroken = false;
        let timer;
        let sequence = null;
        /** The credential that the stream was opened with. */
        let used = null;
        const client = window.graphqlWs.createClient({
          url: socketUrl.href,
          retryAttempts: 0,
          // A refused subscription is not tried again by itself: the page decides, and tells.
          shouldRetry: () => false,
          connectionParams: async () => {
            used = await session.credential();
            return headersOf(own);
          },
        });
        const onChange = () => {
          if (session.identity() === null)
            end(failed("The subscription ended with the login. Log in, and run it again."));
          // It was authenticated with the credential before.
          else client.terminate();
        };
        running.add(onChange);

        function end(result) {
          if (isOver) return;
          isOver = true;
          running.delete(onChange);
          clearTimeout(timer);
          notify("");
          if (result) observer.next(result);
          observer.complete();
          void client.dispose();
        }

        async function retry(reason) {
          if (isOver) return;
          if (Array.isArray(reason)) return end({ errors: reason });
          const code = reason?.code ?? 1006;
          if (code === TERMINATED) return open();
          if (OF_CREDENTIAL.has(code) && !renewed) {
            renewed = true;
            const held = await session.credential();
            if (held !== null && (held !== used || (await session.renew()))) {
              hasBroken = true;
              return isOver ? undefined : open();
            }
          }
          const why = reason?.reason || CLOSED[code] || `the connection was closed (${code})`;
          const goOn = sequence === null ? "" : ` To miss nothing, go on with after: "${sequence}".`;
          if (!PASSING.has(code) || tries >= TRIES) {
            const todo = OF_CREDENTIAL.has(code) ? "Log in, and run it again." : "Run it again once Toolyard answers.";
            return end(failed(`The subscription ended: ${why.replace(/\.$/, "")}. ${todo}${goOn}`));
          }
          tries += 1;
          hasBroken = true;
          notify(`The subscription broke: ${why.replace(/\.$/, "")}. It is opened again (try ${tries} of ${TRIES}) …`);
          timer = setTimeout(open, FIRST_WAIT_MS * 2 ** (tries - 1));
        }

        function open() {
          client.subscribe(params, {
            next(result) {
              tries = 0;
              renewed = false;
              sequence = Object.values(result.data ?? {})[0]?.sequence ?? sequence;
              observer.next(result);
            },
            error: (reason) => void retry(reason),
            complete: () => end(null),
          });
        }

        client.on("connected", () => {
          if (!hasBroken) return;
          const goOn = sequence === null ? "" : ` (go on with after: "${sequence}" to see it)`;
          notify(`The subscription is open again. What happened meanwhile was not sent${goOn}.`);
        });
        open();
        return { unsubscribe: () => end(null) };
      },
    };
  }

  return (params, options) => {
    const own = options?.headers ?? {};
    const { operation, operationName } = operationOf(params);
    const asked = { ...params, operationName };
    return operation === "subscription" ? subscribe(asked, own) : run(asked, own);
  };
}

/** The operation that runs. GraphiQL parses text a moment later than it runs it, so its own idea of the operation may be outdated. */
function operationOf({ query, operationName }) {
  let definitions;
  try {
    ({ definitions } = parse(query));
  } catch {
    // The server reports the error.
    return { operation: "query", operationName };
  }
  const operations = definitions.filter(({ kind }) => kind === "OperationDefinition");
  const found = operations.length === 1 ? operations[0] : operations.find(({ name }) => name?.value === operationName);
  return { operation: found?.operation ?? "query", operationName: found ? found.name?.value : operationName };
}
