import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  bearerToken,
  refuseLogin,
  requireBearer,
  requireLookedUp,
  sameSecret,
} from "../../functions/auth.ts";
import { Problem } from "../../functions/errors.ts";
import { AUTH_FAILURES_PER_MINUTE } from "../../functions/protocol/limits.ts";

const SECRET = "correct-horse-battery-staple";

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

describe("two secrets", () => {
  test.each([
    ["equal", SECRET, SECRET, true],
    ["equal and not ASCII", "pässwörd-\u{1f682}", "pässwörd-\u{1f682}", true],
    ["a prefix", SECRET.slice(0, -1), SECRET, false],
    ["longer", `${SECRET}x`, SECRET, false],
    ["with a space behind", `${SECRET} `, SECRET, false],
    ["with a NUL behind", `${SECRET}\0`, SECRET, false],
    ["different in the first character", `C${SECRET.slice(1)}`, SECRET, false],
    ["different in the last character", `${SECRET.slice(0, -1)}E`, SECRET, false],
    ["upper case", SECRET.toUpperCase(), SECRET, false],
    ["empty", "", SECRET, false],
    ["composed otherwise", "pa\u0308sswo\u0308rd-long-enough", "pässwörd-long-enough", false],
    ["look-alikes", SECRET.replace("o", "\u043e"), SECRET, false],
    ["very long", SECRET.repeat(1_000), SECRET, false],
  ])("that are %s", async (_, given, expected, same) => {
    expect(await sameSecret(given, expected)).toBe(same);
    expect(await sameSecret(expected, given)).toBe(same);
  });

  test("are compared by their digests, in constant time, whatever their lengths", async () => {
    const compare = vi.spyOn(crypto.subtle, "timingSafeEqual");
    for (const given of ["", "x", SECRET, SECRET.repeat(100)]) await sameSecret(given, SECRET);
    expect(compare).toHaveBeenCalledTimes(4);
    for (const [one, other] of compare.mock.calls) {
      expect(one.byteLength).toBe(32);
      expect(other.byteLength).toBe(32);
    }
  });

  test("are compared so where a Bearer token is checked", async () => {
    const compare = vi.spyOn(crypto.subtle, "timingSafeEqual");
    await requireBearer(authorized(`Bearer ${SECRET}`), SECRET, "1.1.1.1", "log in");
    await outcome(`Bearer ${SECRET.slice(1)}`, "1.1.1.1");
    expect(compare).toHaveBeenCalledTimes(2);
  });
});

function authorized(value: string | null): Request {
  return new Request("https://edge.test/", value === null ? {} : { headers: { authorization: value } });
}

async function outcome(value: string | null, client: string): Promise<string> {
  try {
    await requireBearer(authorized(value), SECRET, client, "Send the token.");
    return "in";
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return error.code;
  }
}

test.each<[string | null, string | null]>([
  [null, null],
  ["", null],
  ["Bearer", null],
  ["Bearer ", null],
  ["Bearer a", "a"],
  ["bearer a", "a"],
  ["BEARER a", "a"],
  ["Bearer a b", null],
  ["Bearer  a", null],
  ["Basic a", null],
  ["Bearer a, Bearer b", null],
  ["XBearer a", null],
])("the Bearer token of %j is %j", (value, token) => {
  expect(bearerToken(authorized(value))).toBe(token);
});

describe("failed logins", () => {
  beforeEach(() => {
    vi.useFakeTimers({ now: Date.now() + Math.floor(Math.random() * 1e9) });
  });

  async function fail(client: string, times: number): Promise<string> {
    let last = "";
    for (let attempt = 0; attempt < times; attempt++) last = await outcome(`Bearer guess-${attempt}`, client);
    return last;
  }

  test("are 401 with the remedy and a challenge, and say nothing of the secret", () => {
    try {
      refuseLogin("9.9.9.1", "Send the token.");
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      expect(error).toMatchObject({ code: "unauthorized", status: 401, message: "Send the token." });
      expect(error.headers["www-authenticate"]).toBe('Bearer realm="signalbox"');
      expect(JSON.stringify(error)).not.toContain(SECRET);
      return;
    }
    throw new Error("it let us in");
  });

  test("are 429 after too many, while the right token still works", async () => {
    expect(await fail("9.9.9.2", AUTH_FAILURES_PER_MINUTE)).toBe("unauthorized");
    expect(await outcome("Bearer wrong", "9.9.9.2")).toBe("too_many_attempts");
    expect(await outcome(null, "9.9.9.2")).toBe("too_many_attempts");
    expect(await outcome(`Bearer ${SECRET}`, "9.9.9.2")).toBe("in");
    expect(await outcome("Bearer wrong", "9.9.9.2")).toBe("too_many_attempts");
  });

  test("of one client don't count against another", async () => {
    await fail("9.9.9.3", AUTH_FAILURES_PER_MINUTE + 1);
    expect(await outcome("Bearer wrong", "9.9.9.4")).toBe("unauthorized");
  });

  test("are forgiven after a minute", async () => {
    expect(await fail("9.9.9.5", AUTH_FAILURES_PER_MINUTE + 1)).toBe("too_many_attempts");
    vi.setSystemTime(Date.now() + 60_001);
    expect(await outcome("Bearer wrong", "9.9.9.5")).toBe("unauthorized");
  });

  test("from all addresses of one IPv6 network count as one client's", async () => {
    let last = "";
    for (let host = 0; host <= AUTH_FAILURES_PER_MINUTE; host++) {
      last = await outcome("Bearer wrong", `2001:db8:1:2:${host.toString(16)}::1`);
    }
    expect(last).toBe("too_many_attempts");
    expect(await outcome("Bearer wrong", "2001:db8:1:2::7")).toBe("too_many_attempts");
    expect(await outcome("Bearer wrong", "2001:db8:1:3::7")).toBe("unauthorized");
  });

  describe("whose token takes a look-up", () => {
    let looks = 0;
    async function lookUp(client: string, isRight: () => Promise<boolean>): Promise<string> {
      try {
        await requireLookedUp(client, "Send the token.", () => {
          looks += 1;
          return isRight();
        });
        return "in";
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        return error.code;
      }
    }
    const wrong = async (): Promise<boolean> => false;
    const right = async (): Promise<boolean> => true;

    beforeEach(() => {
      looks = 0;
    });

    test("cost no more look-ups than the limit, one by one or all at once", async () => {
      for (let attempt = 0; attempt < 100; attempt++) await lookUp("9.9.8.1", wrong);
      expect(looks).toBe(AUTH_FAILURES_PER_MINUTE);
      looks = 0;
      const answers = await Promise.all(Array.from({ length: 500 }, () => lookUp("9.9.8.2", wrong)));
      expect(looks).toBe(AUTH_FAILURES_PER_MINUTE);
      expect(new Set(answers.slice(AUTH_FAILURES_PER_MINUTE))).toEqual(new Set(["too_many_attempts"]));
      expect(await lookUp("9.9.8.2", right)).toBe("too_many_attempts");
      expect(looks).toBe(AUTH_FAILURES_PER_MINUTE);
      expect(await lookUp("9.9.8.3", right)).toBe("in");
      vi.setSystemTime(Date.now() + 60_001);
      expect(await lookUp("9.9.8.2", right)).toBe("in");
    });

    test("count together with others, and right ones not at all, however many come at once", async () => {
      for (let fleet = 0; fleet < 3; fleet++) {
        const answers = await Promise.all(Array.from({ length: 200 }, () => lookUp("9.9.8.4", right)));
        expect(answers.filter((answer) => answer === "in")).toHaveLength(AUTH_FAILURES_PER_MINUTE);
      }
      await fail("9.9.8.4", AUTH_FAILURES_PER_MINUTE - 1);
      expect(await lookUp("9.9.8.4", right)).toBe("in");
      expect(await lookUp("9.9.8.4", wrong)).toBe("unauthorized");
      expect(await lookUp("9.9.8.4", right)).toBe("too_many_attempts");
    });

    test("that couldn't be looked up have not failed", async () => {
      const broken = async (): Promise<boolean> => {
        throw new Error("the store is away");
      };
      for (let attempt = 0; attempt < 100; attempt++)
        await expect(lookUp("9.9.8.5", broken)).rejects.toThrow("the store is away");
      expect(await lookUp("9.9.8.5", right)).toBe("in");
    });
  });

  test("can't be wiped out by failing from many other addresses", async () => {
    for (let other = 0; other < 9_000; other++) await outcome(null, `10.1.${other >> 8}.${other & 255}`);
    await fail("9.9.9.6", AUTH_FAILURES_PER_MINUTE + 1);
    for (let other = 0; other < 5_000; other++) await outcome(null, `10.2.${other >> 8}.${other & 255}`);
    expect(await outcome("Bearer wrong", "9.9.9.6")).toBe("too_many_attempts");
  });
});
