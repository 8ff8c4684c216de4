import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { queryValue, readUrl, type RequestUrl } from "../../functions/edge/url.ts";

/** Repeat a failure with SIGNALBOX_FUZZ_SEED. */
const seed = Number(process.env["SIGNALBOX_FUZZ_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
console.log(`Fuzzing URLs from seed ${seed}`);
const options = { seed, numRuns: 20_000 };

function partsOf(url: RequestUrl | null): RequestUrl | null {
  if (url === null) return null;
  const { protocol, host, hostname, pathname, search } = url;
  return { protocol, host, hostname, pathname, search };
}

const character = fc.string({ minLength: 1, maxLength: 2, unit: "binary-ascii" });
const pieces = (...own: string[]): fc.Arbitrary<string> =>
  fc
    .array(fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...own) }, { weight: 1, arbitrary: character }), {
      maxLength: 6,
    })
    .map((parts) => parts.join(""));
const plainHost = fc.constantFrom("shop.test", "a.b-c.localhost", "1.shop", "x1", "shop.test:8787");
const oddHost = pieces("a", "xn--", "xn--ls8h", ".", "1", "0x7f", "A", "_", "-", "%41", "user@", "[::1]");
const port = fc.constantFrom("", ":80", ":443", ":8787", ":08787", ":65535", ":65536", ":59999", ":", ":1");
const path = pieces(
  "/",
  "a",
  ".",
  "..",
  "%2e",
  "%2E",
  "%2f",
  "%",
  "\\",
  "_signalbox",
  "é",
  ";",
  ":",
  "//",
  "^",
);
const query = pieces("?", "a=1", "&", "%20", "'", "+", "é", "[]");
const plainUrl = fc.tuple(fc.constantFrom("http", "https"), plainHost, path, query);
const oddUrl = fc.tuple(
  fc.constantFrom("http", "https"),
  fc.tuple(oddHost, port).map((both) => both.join("")),
  path,
  query,
);

test("a URL read by hand has the parts of a URL object", () => {
  let byHand = 0;
  fc.assert(
    fc.property(fc.oneof(plainUrl, oddUrl), fc.boolean(), ([scheme, host, path, query], hasQuery) => {
      const text = `${scheme}://${host}/${path}${hasQuery ? `?${query}` : ""}`;
      const read = readUrl(text);
      if (read !== null && !(read instanceof URL)) byHand += 1;
      expect(partsOf(read)).toEqual(partsOf(URL.parse(text)));
    }),
    options,
  );
  expect(byHand).toBeGreaterThan(options.numRuns / 50);
});

test.each([
  "http://shop.test/",
  "http://shop.localhost:8787/a/b.html?pulse_deployment=v1",
  "https://www.example.com/_next/static/chunks/a%20b-1f.js?dpl=x&v=%5B1%5D",
])("an everyday URL needs no URL object: %s", (text) => {
  expect(readUrl(text)).not.toBeInstanceOf(URL);
});

describe("a query's value", () => {
  const name = "pulse_deployment";
  test("is the one that URLSearchParams finds", () => {
    const part = pieces(name, "pulse%5Fdeployment", "=", "&", "?", "+", "v1", "%", "_deployment");
    fc.assert(
      fc.property(part, (text) => {
        expect(queryValue(`?${text}`, name)).toBe(new URLSearchParams(`?${text}`).get(name));
      }),
      options,
    );
    expect(queryValue("", name)).toBeNull();
  });

  test.each([
    "?pulse%5fdeployment=v1",
    "?a=%&pulse_deployment=v1",
    "?x&pulse_deployment=v1&pulse_deployment=v2",
  ])("is found in %s", (search) => {
    expect(queryValue(search, name)).toBe("v1");
  });
});
