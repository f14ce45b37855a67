/** The content of the first tab: queries that show something to any caller. */

export const WELCOME = `# Ctrl-Enter runs this, Ctrl-Space completes. Subscriptions run, too.
# It says what can be asked. Most of it is for who is logged in.

query WhatCanBeAsked {
  __schema {
    queryType {
      fields {
        name
        description
      }
    }
  }
}
`;

export const LOGGED_IN = `# Ctrl-Enter runs this, Ctrl-Space completes.

query Tools {
  me {
    username
    role
  }
  tools(first: 10) {
    totalCount
    edges {
      node {
        slug
        name
        mcpUrl
        deployments {
          edges {
            node {
              name
              status
              health
            }
          }
        }
      }
    }
  }
}
`;

/** The second tab of Toolyard's own graph. */
export const WATCH = `# What happens to deployments, from the start of the log and then live.

subscription Watch {
  deploymentEvents(after: "0") {
    sequence
    at
    kind
    message
  }
}
`;
