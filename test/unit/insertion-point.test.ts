import fc from "fast-check";
import { parse, type DefaultTreeAdapterTypes as Tree } from "parse5";
import { expect, test } from "vitest";
import { insertionPoint, PROLOGUE_LIMIT_BYTES } from "../../functions/pages/insertion-point.ts";

const MARKUP = '<script src="/ours"></script>';
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

/** The document with our script, as far as there is a place for it. */
function inserted(html: string): string {
  const bytes = bytesOf(html);
  const point = insertionPoint(bytes);
  if (point === null) return html;
  const at = point === "more" ? bytes.length : point;
  const text = new TextDecoder("utf-8", { ignoreBOM: true });
  return text.decode(bytes.subarray(0, at)) + MARKUP + text.decode(bytes.subarray(at));
}

function serialized(node: Tree.Node, depth = 0): string {
  if (node.nodeName === "#text" && "value" in node) return JSON.stringify(node.value);
  const attributes = "attrs" in node ? JSON.stringify(node.attrs) : "";
  const data = "data" in node ? node.data : "";
  const children = "childNodes" in node ? node.childNodes : [];
  const content = "content" in node ? [node.content] : [];
  return `${node.nodeName}${attributes}${data}(${[...children, ...content].map((child) => serialized(child, depth + 1)).join(",")})`;
}

/** What the parser makes of it, and whether our script is the first thing in the head. */
function parsed(html: string): { tree: string; mode: string; isFirst: boolean } {
  // A decoder takes the byte order mark.
  const document = parse(html.replace(/^\ufeff/, ""));
  const root = document.childNodes.find(({ nodeName }) => nodeName === "html") as Tree.Element;
  const head = root.childNodes.find(({ nodeName }) => nodeName === "head") as Tree.Element;
  const first = head.childNodes[0];
  const isFirst = first !== undefined && "attrs" in first && first.attrs[0]?.value === "/ours";
  if (isFirst) head.childNodes.shift();
  return { tree: serialized(document), mode: document.mode, isFirst };
}

test.each([
  "<!doctype html><html><head><title>x</title></head><body>b</body></html>",
  "<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset=utf-8>",
  "<html><body>b",
  "<title>only</title><p>x",
  "<p>no head at all",
  "just text",
  "",
  "   \n",
  "\ufeff<!doctype html><head><title>x</title>",
  "<!-- a > b --><!doctype html><html data-a='>' data-b=\">\"><head data-x='<head>'><title>x",
  "<!--><html><head><title>x",
  "<!--->\n<head><title>x",
  "<?xml version='1.0'?><!doctype html><html><head><title>x",
  "<HTML><HEAD><TITLE>x",
  "<html a'b><head><title>it's",
  "<html a = '>'><head/><title>x",
  "<header>not a head</header>",
  "<html><head\n>\n<script>1</script>",
  "</html><p>x",
  "<frameset><frame></frameset>",
])("the script comes first and changes nothing else: %j", (html) => {
  const after = parsed(inserted(html));
  expect(after.isFirst).toBe(true);
  // Text nodes beside an element that was taken out again stay two.
  const plain = (tree: string): string => tree.replaceAll('","', "");
  expect(plain(after.tree)).toBe(plain(parsed(html).tree));
  expect(after.mode).toBe(parsed(html).mode);
});

test("of any beginning of a document, nothing is decided that more of it would change", () => {
  const piece = fc.constantFrom(
    ..."<!doctype html>|<!--|-->|--!>|<html|<head|>|/>|'|\"| a|=|<title>|</title>|<body>|x| |\n|<p>|<?x|</p>|é|<!".split(
      "|",
    ),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 14 }), fc.nat(100), (pieces, cut) => {
      const whole = bytesOf(pieces.join(""));
      const part = whole.subarray(0, cut % (whole.length + 1));
      const early = insertionPoint(part);
      if (early !== "more") expect(insertionPoint(whole)).toBe(early);
    }),
    { numRuns: 3_000 },
  );
});

test("what hasn't begun its head within the limit is left alone", () => {
  expect(insertionPoint(bytesOf(`<!--${"x".repeat(PROLOGUE_LIMIT_BYTES)}`))).toBe(null);
  expect(insertionPoint(bytesOf(`<!--${"x".repeat(100)}`))).toBe("more");
});
