import { describe, expect, test } from "vitest";
import { askedOf, type Asked } from "../../functions/edge/asked.ts";
import { hasHashedName } from "../../functions/edge/cache-rules.ts";
import { deploymentHostOf } from "../../functions/edge/deployment-host.ts";
import { markTag, unmarkTags } from "../../functions/edge/document-tags.ts";
import { refuseOwnCookies, withholdOwnCookies } from "../../functions/own-cookies.ts";

describe("the name of a file", () => {
  test.each([
    "/assets/index-BkX3aZ9q.js",
    "/assets/index-DqTkZwXm.css",
    "/static/main.8f3a9c1b.css",
    "/static/js/2.3f1a9c0b.chunk.js",
    "/_app/immutable/chunks/B7xYk2_p.js",
    "/assets/a-b-c-0f9e8d7c6b5a.woff2",
    "/fonts/Inter.var-D4e5F6a7.woff2",
  ])("%s holds a hash", (path) => expect(hasHashedName(path)).toBe(true));

  test.each([
    "/",
    "/logo.svg",
    "/jquery-bootstrap.js",
    "/my-component2.js",
    "/report-20241231.pdf",
    "/vendor-19.3.1.js",
    "/DatePicker-MainWindow.js",
    "/index-BkX3aZ9q/plain.js",
    "/api/users-1234abcd",
  ])("%s holds none", (path) => expect(hasHashedName(path)).toBe(false));
});

describe("a deployment's host", () => {
  test.each<[string, string | null]>([
    ["v1--shop", "v1 of shop"],
    ["prod-261130-195005--shop", "prod-261130-195005 of shop"],
    ["v1--my--shop", "v1 of my--shop"],
    ["v1----shop", null],
    ["v1---shop", null],
    ["--shop", null],
    ["v1--", null],
    ["shop", null],
    ["", null],
    ["V1--shop", null],
    [`${"a".repeat(25)}--shop`, null],
  ])("%s is %s", (label, expected) => {
    const found = deploymentHostOf(label);
    expect(found && `${found.id} of ${found.app}`).toBe(expected);
  });
});

describe("what a browser does with the answer", () => {
  const NONE: Asked = {
    navigation: false,
    document: false,
    frame: false,
    ahead: false,
    serviceWorker: false,
    dest: null,
  };
  const fetched = (dest: string, mode: string, site = "same-origin"): Record<string, string> => ({
    "sec-fetch-dest": dest,
    "sec-fetch-mode": mode,
    "sec-fetch-site": site,
    accept: "text/html",
  });

  test.each<[string, string, Record<string, string>, Partial<Asked>]>([
    ["a link", "GET", fetched("document", "navigate"), { navigation: true, document: true }],
    ["a form's post", "POST", fetched("document", "navigate"), { navigation: true }],
    ["a frame", "GET", fetched("iframe", "navigate"), { navigation: true, document: true, frame: true }],
    [
      "a frame in another site",
      "GET",
      fetched("iframe", "navigate", "cross-site"),
      { navigation: true, document: true },
    ],
    ["a picture in an object", "GET", fetched("object", "no-cors"), {}],
    ["a download", "GET", { ...fetched("empty", "navigate"), accept: "*/*" }, {}],
    [
      "a page that a service worker asks for",
      "GET",
      fetched("empty", "navigate"),
      { navigation: true, document: true },
    ],
    [
      "a form's post that a service worker hands on",
      "POST",
      fetched("empty", "navigate"),
      { navigation: true },
    ],
    ["a fetch", "GET", fetched("empty", "cors"), {}],
    ["a service worker", "GET", fetched("serviceworker", "same-origin"), { serviceWorker: true }],
    [
      "a page ahead",
      "GET",
      { ...fetched("document", "navigate", "none"), "sec-purpose": "prefetch;prerender" },
      { navigation: true, document: true, ahead: true },
    ],
    ["a page on plain http", "GET", { accept: "text/html" }, { navigation: true, document: true }],
    ["a post on plain http", "POST", { accept: "text/html" }, { navigation: true }],
    ["a script's request on plain http", "GET", { accept: "text/html", "x-requested-with": "x" }, {}],
    ["curl", "GET", { accept: "*/*" }, {}],
    ["nothing said", "GET", {}, {}],
  ])("is told by its headers: %s", (_, method, given, expected) => {
    const request = new Request("http://shop.test/", { method, headers: given });
    const asked = askedOf(request, new Set(request.headers.keys()));
    expect(asked).toEqual({ ...NONE, dest: given["sec-fetch-dest"] ?? null, ...expected });
  });
});

describe("a page's tag", () => {
  test.each(['"a"', 'W/"a"', '""', '"a;signalbox=v0"', '"a;weak"', 'W/"x;signalbox=v1;weak"'])(
    "%s comes back to its deployment as it was, and to no other",
    (tag) => {
      const headers = new Headers({ etag: tag });
      markTag(headers, "v1");
      const marked = headers.get("etag") ?? "";
      expect(marked).toMatch(/^W\/"/);
      const asked = (): Headers => new Headers({ "if-none-match": marked, "if-modified-since": "x" });
      const own = asked();
      expect(unmarkTags(own, "v1", true)).toBe(true);
      expect(own.get("if-none-match")).toBe(tag);
      const other = asked();
      expect(unmarkTags(other, "v2", false)).toBe(false);
      expect([...other.keys()]).toEqual([]);
    },
  );

  test("is left alone where it isn't one", () => {
    for (const etag of ["a", '"a', 'w/"a"', '"a" "b"']) {
      const headers = new Headers({ etag });
      markTag(headers, "v1");
      expect(headers.get("etag")).toBe(etag);
    }
  });
});

describe("cookies of our own", () => {
  test.each<[string, string | null]>([
    ["signalbox-page=v1", null],
    ["a=1; signalbox-page=v1", "a=1"],
    ["signalbox-page=v1; a=1", "a=1"],
    ["a=1; signalbox-page=v1; signalbox-sign-in-8787=x; b=2", "a=1; b=2"],
    ["signalbox-page; a=1", "a=1"],
    ["__Host-signalbox-page=v1; a=1", "a=1"],
    ["=signalbox-page=v1; a=1", "a=1"],
    ["my-signalbox-page=1; signalbox-pages=2", "my-signalbox-page=1; signalbox-pages=2"],
  ])("don't reach an app: %s", (given, expected) => {
    const headers = new Headers({ cookie: given });
    withholdOwnCookies(headers);
    expect(headers.get("cookie")).toBe(expected);
  });

  test("aren't taken from an app", () => {
    const headers = new Headers();
    for (const cookie of ["signalbox-page=v1", "a=1", "__Secure-signalbox-page=v1", "signalbox-pages=2"])
      headers.append("set-cookie", cookie);
    refuseOwnCookies(headers);
    expect(headers.getSetCookie()).toEqual(["a=1", "signalbox-pages=2"]);
  });
});
