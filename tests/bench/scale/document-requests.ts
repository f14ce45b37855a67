import { query, type Request } from "./asking.ts";
import { HOT, RARE_WORD, toolId } from "./names.ts";
import { textOf } from "./rows.ts";

/** Texts of others than those that were filled in. */
let uploaded = 1_000_000;

const documents = (text: string, more = "") =>
  `{ searchDocuments(query: ${JSON.stringify(text)}, first: 20${more}) { edges { node { score snippet document { title } } } } }`;
const upload = (content: () => string) => () => ({ input: { title: "Uploaded", content: content(), tags: ["new"] } });
const UPLOAD = "mutation ($input: UploadDocumentInput!) { uploadDocument(input: $input) { id } }";

export const documentRequests: Request[] = [
  query(
    "a page of 100 documents",
    "documents",
    "{ documents(first: 100) { edges { node { title tool { name } uploadedBy { username } } } } }",
  ),
  query(
    "documents of a tag, with `totalCount`",
    "documents",
    `{ documents(first: 20, tag: "even") { totalCount edges { node { title } } } }`,
  ),
  query("a search for a word that one document has", "documents", documents(RARE_WORD)),
  query("a search for a word that all documents have", "documents", documents("document")),
  query("a search for a prefix (`do*`)", "documents", documents("do*")),
  query("a search for a phrase that all documents have", "documents", documents('"the lantern of the harbour"')),
  query(
    "a search for a word that all have, by a tag that half have",
    "documents",
    documents("document", ', tag: "even"'),
  ),
  query("a search for a prefix, by a tag that half have", "documents", documents("do*", ', tag: "even"')),
  query(
    "a search for a word that all have, by a tool",
    "documents",
    documents("document", `, toolId: "${toolId(HOT)}"`),
  ),
  query("a search for a word that all have, without one that half have", "documents", documents("document -river1")),
  query(
    "a search for a word and its `totalCount`",
    "documents",
    documents("document").replace("{ edges", "{ totalCount edges"),
  ),
  query(
    "an upload of 2 KB",
    "documents",
    UPLOAD,
    upload(() => textOf((uploaded += 1), 2_000)),
  ),
  query(
    "an upload of 200 KB",
    "documents",
    UPLOAD,
    upload(() => textOf((uploaded += 1), 200_000)),
  ),
  query(
    "an upload of 2 MB",
    "documents",
    UPLOAD,
    upload(() => textOf((uploaded += 1), 2_000_000).replaceAll("river", "lodestar ")),
  ),
  query("a search for a word that those of 2 MB have thousands of times", "documents", documents("lodestar")),
];
