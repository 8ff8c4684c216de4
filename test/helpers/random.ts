/**
 * Uniform numbers in [0, 1), the same for the same seed everywhere; SIGNALBOX_SEED repeats a run.
 * Source: Tommy Ettinger's mulberry32.
 */
export function seededRandom(): { seed: number; random: () => number } {
  const seed = Number(process.env["SIGNALBOX_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`SIGNALBOX_SEED=${seed}`);
  let state = seed;
  const random = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return { seed, random };
}
