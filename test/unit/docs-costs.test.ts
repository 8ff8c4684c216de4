import { expect, test } from "vitest";
import { ROUTE_TTL_MS, RUNNER_STATUS_INTERVAL_MS } from "../../functions/protocol/limits.ts";
import { readDocument } from "../helpers/documents.ts";

const text = readDocument("docs/costs.md");
const sums = [...text.matchAll(/`([\d,. ×÷+−]+) = ([\d,.]+)`/g)].map(
  ([, sum = "", result = ""]) => [sum, result] as const,
);
const numberOf = (shown: string): number => Number(shown.replaceAll(",", ""));

test("docs/costs.md has its arithmetic in sums", () => {
  expect(sums.length).toBeGreaterThan(20);
});

test.each(sums)("%s = %s", (sum, result) => {
  const decimals = result.split(".")[1]?.length ?? 0;
  expect(Number(evaluate(sum).toFixed(decimals))).toBe(numberOf(result));
});

test("docs/costs.md reckons with the intervals of the code", () => {
  const month = 30 * 24 * 3_600_000;
  expect(text).toContain(`\`${(month / RUNNER_STATUS_INTERVAL_MS).toLocaleString("en")} ÷ 20 = 8,640\``);
  expect(text).toContain(`\`5 × 12 × 3,600 ÷ ${ROUTE_TTL_MS / 1_000} × 30 = `);
});

/** From the left, products before sums. */
function evaluate(sum: string): number {
  return sum.split(/ (?=[+−] )/).reduce((total, part) => {
    const [, sign, product = ""] = /^([+−] )?(.*)$/.exec(part) ?? [];
    const value = product.split(/ (?=[×÷] )/).reduce((so, factor) => {
      const number = numberOf(factor.replace(/^[×÷] /, ""));
      return factor.startsWith("÷") ? so / number : so * number;
    }, 1);
    return sign === "− " ? total - value : total + value;
  }, 0);
}
