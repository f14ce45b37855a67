/** Subgraphs are asked as the user who asks. Without this Hive asks once for all users who want the same at the same time. */
export const asTheUser = {
  propagateHeaders: {
    fromClientToSubgraphs: ({ request }) => ({ authorization: request.headers.get("authorization") }),
  },
};
