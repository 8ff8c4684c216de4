/** What takes longer on any machine has gone wrong. */
const SEEN_WITHIN_MS = 90_000;

let step = 0;

/** The next line of a demo's story, with its number. */
export function tell(text: string): void {
  step += 1;
  console.log(`${String(step).padStart(2)}. ${text}`);
}

export function check(holds: boolean, otherwise: string): asserts holds {
  if (!holds) throw new Error(otherwise);
}

/** Waits until something was seen; throws with its name after `timeoutMs`. */
export async function seen(
  what: string,
  look: () => boolean | Promise<boolean>,
  timeoutMs = SEEN_WITHIN_MS,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await look())) {
    if (Date.now() > deadline) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
