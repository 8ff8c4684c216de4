import { until } from "./stack.ts";

/** Looks, a third of a second long, in which nothing may have changed. */
const LOOKS = 15;

/** Waits until a count has risen and then stands: until nothing more is sent, or taken. */
export async function standsStill(count: () => number): Promise<void> {
  let last = 0;
  let looks = 0;
  await until(count, (now) => {
    looks = now === last && now > 0 ? looks + 1 : 0;
    last = now;
    return looks === LOOKS;
  });
}
