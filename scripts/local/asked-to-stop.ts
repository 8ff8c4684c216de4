/** npm says nothing when it is killed: the one sign is another parent. */
const PARENT_LOOK_MS = 250;

/**
 * Resolves when this program is asked to end: by SIGINT, SIGTERM or SIGHUP, and where npm runs it also when npm or the
 * shell between them has gone. A shell that gets SIGTERM from npm ends without a word to what it runs.
 */
export function askedToStop(env: NodeJS.ProcessEnv = process.env): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => resolve());
    if (env["npm_lifecycle_event"] === undefined) return;
    const parent = process.ppid;
    const look = setInterval(() => {
      if (process.ppid === parent) return;
      clearInterval(look);
      resolve();
    }, PARENT_LOOK_MS);
    look.unref();
  });
}
