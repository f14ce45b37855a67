import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { textOfHtml } from "./html-text.ts";

describe("the text of HTML", () => {
  test.each([
    ["inline elements join", "w<b>or</b>d<i>s</i>", "words"],
    ["blocks are lines", "<p>one</p><p>two<br/>three</p>", "one\ntwo\nthree"],
    ["cells are apart", "<table><tr><td>a</td><td>b</td></tr></table>", "a\nb"],
    ["white space is one space", "a \n\t  b", "a b"],
    ["the title counts", "<head><title>T &amp; U</title></head>x", "T & U\nx"],
    ["scripts and styles do not", "a<script>if (a < b) '</p>'</script>b<style>a{}</style>c", "abc"],
    ["a script ends at its own end only", "<script>'</scripty>'</script >x", "x"],
    ["a script in capitals ends too", "<SCRIPT>a</sCript\n>x", "x"],
    ["a script without end takes the rest", "a<script>b", "a"],
    ["comments do not count", "a<!-- <p>b --> c<!---->d<!-->e<!--x--!>f", "a cdef"],
    ["a comment without end takes the rest", "a<!-- b > c", "a"],
    ["declarations do not count", "<!doctype html><?xml version='1'?><![CDATA[x]]>a", "a"],
    ["attributes may hold >", "<a title=\"a > b\" href='>'>x</a>", "x"],
    ["a quote in a name is none", "<a b'c>x</a>'y", "x'y"],
    ["a tag without end takes the rest", "a <b c", "a"],
    ["a lone < is text", "1 < 2 <3 << <", "1 < 2 <3 << <"],
    [
      "entities",
      "&lt;p&gt; &eacute;&Eacute &amp;amp; &notit; &nope; &hellip;&NotEqualTilde;",
      "<p> éÉ &amp; ¬it; &nope; …≂̸",
    ],
    ["numbers", "&#65;&#x42;&#x43 &#128;&#159;&#x1F600;&#0;&#xD800;&#99999999;", "ABC €Ÿ😀\ufffd\ufffd\ufffd"],
    ["what is decoded is not read again", "&lt;b&gt;x&amp;lt;", "<b>x&lt;"],
    ["elements nobody knows", "<my-tag a=1>x</my-tag></unopened>", "x"],
    ["nothing", "", ""],
  ])("%s", (_what, html, text) => {
    expect(textOfHtml(html)).toBe(text);
  });

  const piece = fc.constantFrom(
    "<",
    ">",
    "</",
    "<!--",
    "-->",
    "<script",
    "</script",
    "<p",
    '"',
    "'",
    "=",
    "&",
    "&#",
    "&amp",
    ";",
    " ",
    "a",
    "!",
    "?",
    "/",
    "\n",
    "é",
  );

  test("takes anything, and never gives back the inside of a whole script", () => {
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), fc.string({ unit: "binary" }), (pieces, other) => {
        textOfHtml(pieces.join("") + other);
        expect(textOfHtml(`x<script>SECRET${other.replaceAll("<", "")}</script>${pieces.join("")}`)).not.toContain(
          "SECRET",
        );
      }),
      { numRuns: 200 },
    );
  });

  test("gives back text without markup as it is", () => {
    fc.assert(
      fc.property(fc.array(fc.stringMatching(/^[A-Za-z0-9.,é漢]+$/), { minLength: 1 }), (words) => {
        expect(textOfHtml(words.join(" "))).toBe(words.join(" "));
      }),
    );
  });

  test.each(["<", "<a ", "<!--", "<script>", "&", "<a b='", "</", "<p>", "<a ='x' ", " \n"])(
    "takes megabytes of %j in time that grows with their length only",
    // In time that grows with the square of the length it would take longer than a test may.
    (unit) => void textOfHtml(unit.repeat(4_000_000 / unit.length)),
  );
});
