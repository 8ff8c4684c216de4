import { join } from "node:path";
import { FileLock } from "../../runner/processes/file-lock.ts";
import { SettingError } from "./settings.ts";

/** One stack for each home. Throws {@link SettingError} when there is one already. */
export async function takeHome(home: string): Promise<FileLock> {
  const lock = await FileLock.take(join(home, "home.lock"));
  if (lock instanceof FileLock) return lock;
  throw new SettingError(
    `${home} is in use by the stack with process id ${lock.holder}. Stop it or set SIGNALBOX_HOME.`,
  );
}
