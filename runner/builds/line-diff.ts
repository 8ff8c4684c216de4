/** Edits that are looked for; texts that differ more are shown as replaced. */
const EDITS_LIMIT = 2_000;
const CONTEXT_LINES = 3;

type Line = { sign: " " | "-" | "+"; text: string };

/** A unified diff of two texts, without the names of files; empty if they are the same. */
export function lineDiff(before: string, after: string): string {
  const lines = diffLines(linesOf(before), linesOf(after));
  const changed = lines.flatMap(({ sign }, index) => (sign === " " ? [] : [index]));
  const hunks: { from: number; to: number }[] = [];
  for (const index of changed) {
    const from = Math.max(0, index - CONTEXT_LINES);
    const to = Math.min(lines.length, index + CONTEXT_LINES + 1);
    const last = hunks.at(-1);
    if (last !== undefined && from <= last.to) last.to = to;
    else hunks.push({ from, to });
  }
  return hunks.map(({ from, to }) => hunkOf(lines, from, to)).join("");
}

function hunkOf(lines: Line[], from: number, to: number): string {
  const count = (part: Line[], sign: "-" | "+"): number =>
    part.filter((line) => line.sign === " " || line.sign === sign).length;
  const [earlier, shown] = [lines.slice(0, from), lines.slice(from, to)];
  const range = (sign: "-" | "+"): string => {
    const length = count(shown, sign);
    return `${sign}${count(earlier, sign) + (length === 0 ? 0 : 1)},${length}`;
  };
  return `@@ ${range("-")} ${range("+")} @@\n${shown.map(({ sign, text }) => `${sign}${text}`).join("")}`;
}

/** Each with its end; a last line without one is told as git tells it. */
function linesOf(text: string): string[] {
  const lines = text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
  return lines.map((line) => (line.endsWith("\n") ? line : `${line}\n\\ No newline at end of file\n`));
}

/** Source: Myers, "An O(ND) Difference Algorithm and Its Variations", 1986. */
function diffLines(before: string[], after: string[]): Line[] {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start++;
  let end = 0;
  while (
    end < before.length - start &&
    end < after.length - start &&
    before[before.length - 1 - end] === after[after.length - 1 - end]
  )
    end++;
  const same = (lines: string[]): Line[] => lines.map((text) => ({ sign: " ", text }));
  return [
    ...same(before.slice(0, start)),
    ...middle(before.slice(start, before.length - end), after.slice(start, after.length - end)),
    ...same(before.slice(before.length - end)),
  ];
}

function middle(before: string[], after: string[]): Line[] {
  const trace: Map<number, number>[] = [];
  let furthest = new Map([[1, 0]]);
  for (let edits = 0; edits <= Math.min(before.length + after.length, EDITS_LIMIT); edits++) {
    trace.push(new Map(furthest));
    for (let k = -edits; k <= edits; k += 2) {
      const down = k === -edits || (k !== edits && at(furthest, k - 1) < at(furthest, k + 1));
      let x = down ? at(furthest, k + 1) : at(furthest, k - 1) + 1;
      while (x < before.length && x - k < after.length && before[x] === after[x - k]) x++;
      furthest.set(k, x);
      if (x >= before.length && x - k >= after.length) return backtrack(trace, before, after);
    }
    furthest = new Map(furthest);
  }
  return [
    ...before.map((text): Line => ({ sign: "-", text })),
    ...after.map((text): Line => ({ sign: "+", text })),
  ];
}

function backtrack(trace: Map<number, number>[], before: string[], after: string[]): Line[] {
  const lines: Line[] = [];
  let [x, y] = [before.length, after.length];
  for (let edits = trace.length - 1; edits >= 0; edits--) {
    const furthest = trace[edits] ?? new Map<number, number>();
    const k = x - y;
    const down = k === -edits || (k !== edits && at(furthest, k - 1) < at(furthest, k + 1));
    const fromK = down ? k + 1 : k - 1;
    const fromX = at(furthest, fromK);
    const fromY = fromX - fromK;
    while (x > fromX && y > fromY && x > 0 && y > 0) {
      y--;
      lines.push({ sign: " ", text: before[--x] ?? "" });
    }
    if (edits === 0) break;
    lines.push(down ? { sign: "+", text: after[--y] ?? "" } : { sign: "-", text: before[--x] ?? "" });
  }
  return lines.toReversed();
}

/** Above every other where nothing was reached yet. */
function at(furthest: Map<number, number>, k: number): number {
  return furthest.get(k) ?? -1;
}
