import { decodeHTML } from "entities";

/** Elements that begin a line of their own. */
const BLOCKS = new Set(
  (
    "address article aside blockquote body br button caption center dd details dialog dir div dl dt fieldset figcaption figure " +
    "footer form h1 h2 h3 h4 h5 h6 head header hgroup hr html legend li main menu nav ol optgroup option p pre search section " +
    "select summary table tbody td textarea tfoot th thead title tr ul"
  ).split(" "),
);
/** Elements whose content is no text for readers. */
const HIDDEN = new Set(["script", "style"]);

/**
 * The text of an HTML document as a reader would see it: no tags, comments, scripts and styles; entities decoded; blocks on
 * lines of their own. Takes anything, however broken, in linear time; tags end where the HTML standard's tokenizer ends them
 * (https://html.spec.whatwg.org/multipage/parsing.html#tokenization).
 */
export function textOfHtml(html: string): string {
  const parts: string[] = [];
  let position = 0;
  while (position < html.length) {
    const open = html.indexOf("<", position);
    if (open === -1) {
      parts.push(plain(html.slice(position)));
      break;
    }
    parts.push(plain(html.slice(position, open)));
    const next = html[open + 1] ?? "";
    if (/[a-z]/i.test(next) || (next === "/" && /[a-z]/i.test(html[open + 2] ?? ""))) {
      const end = endOfTag(html, open + 1);
      const name = nameAt(html, next === "/" ? open + 2 : open + 1);
      if (BLOCKS.has(name)) parts.push("\n");
      position = next !== "/" && HIDDEN.has(name) ? endOfHidden(html, end, name) : end;
    } else if (html.startsWith("<!--", open)) {
      position = endOfComment(html, open);
    } else if (next === "!" || next === "?" || next === "/") {
      position = after(html.indexOf(">", open), 1, html);
    } else {
      parts.push("<");
      position = open + 1;
    }
  }
  return parts
    .join("")
    .replaceAll(/[ \t\r\f\u00a0]+/g, " ")
    .replaceAll(/ ?\n[ \n]*/g, "\n")
    .trim();
}

/** Text between tags: its line breaks are spaces to a reader. */
function plain(text: string): string {
  return decodeHTML(text.replaceAll("\n", " "));
}

function nameAt(html: string, start: number): string {
  // No element that matters here has a longer name.
  return /^[^\s/>]*/.exec(html.slice(start, start + 16))?.[0].toLowerCase() ?? "";
}

/** Where the tag whose name begins at `start` ends: after its `>`, which may not stand within a quoted attribute value. */
function endOfTag(html: string, start: number): number {
  const stop = /[>"']/g;
  let from = start;
  for (;;) {
    stop.lastIndex = from;
    const found = stop.exec(html);
    if (!found) return html.length;
    if (found[0] === ">") return found.index + 1;
    // A quote opens a value only after `=`; elsewhere it is part of a name.
    if (!/=\s*$/.test(html.slice(Math.max(start, found.index - 8), found.index))) {
      from = found.index + 1;
      continue;
    }
    const close = html.indexOf(found[0], found.index + 1);
    if (close === -1) return html.length;
    from = close + 1;
  }
}

function endOfHidden(html: string, start: number, name: string): number {
  const close = new RegExp(`</${name}(?=[\\s/>])`, "gi");
  close.lastIndex = start;
  const found = close.exec(html);
  return found ? endOfTag(html, found.index + 1) : html.length;
}

function endOfComment(html: string, open: number): number {
  // `<!-->` and `<!--->` are whole comments.
  const short = /^<!--(?:-?>)/.exec(html.slice(open, open + 6));
  if (short) return open + short[0].length;
  const close = /--!?>/g;
  close.lastIndex = open + 4;
  const found = close.exec(html);
  return found ? found.index + found[0].length : html.length;
}

function after(index: number, length: number, html: string): number {
  return index === -1 ? html.length : index + length;
}
