/**
 * One route of REST: an operation on the graph under an address. Its variables say what it takes: those named in `path` come from there, the
 * fields of `$input` and, except with GET and DELETE, all others from the body, the rest from the query; `$first` is called `limit`.
 */
export interface RestRoute {
  method: "GET" | "POST" | "PUT" | "DELETE";
  /** As in OpenAPI, with the variables' names in snake_case; a slash at the end may be left out, or added. */
  path: string;
  /** Groups the routes in the documentation. */
  tag: string;
  summary: string;
  operation: string;
  /** Of the answer. 204: without a body. */
  status: 200 | 201 | 202 | 204;
  /** Where in the operation's data the answer is, when it is not its only field. Null there is NOT_FOUND, of `noun`. */
  at?: readonly string[];
  /** Where the operation's data says of how many the list at `at` is a page. Without it, a list is whole, and REST makes pages of it. */
  totalAt?: readonly string[];
  noun: string;
  /** Names the address of what was made, as `path` does: `/api/v1/mcps/{id}`. */
  location?: string;
  /** The version of what is answered, with which its ETag begins. An operation that takes `expectedVersion` is given the one that `If-Match` names. */
  version?: (answer: Record<string, unknown>) => number;
  /** The route is for callers without a credential, too. */
  isOpen?: boolean;
  /** The body may be a form with a file as well. */
  upload?: Upload;
}

/** How a file becomes a part of the body, in REST's names. */
export interface Upload {
  /** What the form lacks, since the file has it. */
  instead: readonly string[];
  /** The file's, of which the form's own fields are preferred. */
  values(file: { name: string; type: string; bytes: Buffer }): Record<string, unknown>;
}

/** Whether a request may be sent again under its `Idempotency-Key`: it makes something, which would be made twice. */
export function takesIdempotencyKey({ method, status }: RestRoute): boolean {
  return method === "POST" && (status === 201 || status === 202);
}
