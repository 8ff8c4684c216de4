/** Commands that somebody runs on their machine, ready to copy. */

/** On the local stack the command line knows where it is; elsewhere `signalbox login` told it once. */
export function deployCommand(app: string): string {
  return `npx signalbox deploy ${app === EXAMPLE ? "examples/live-counter" : `. --app ${app}`}`;
}

/** The app that `npm start` shows. Its source is in the repository that the stack was started from. */
const EXAMPLE = "live-counter";

export function isLocal(): boolean {
  return location.hostname.endsWith("localhost");
}

export function loginCommand(): string {
  return `npx signalbox login --server ${location.origin}`;
}
