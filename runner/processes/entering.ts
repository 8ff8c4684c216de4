import type { ProcessGroup } from "./process-group.ts";

/** A machine out of memory ends hosted processes before the runner and its edge. Source: proc(5), -1000 to 1000. */
const OOM_SCORE = 500;

/**
 * The shell joins the group and takes its limits before it becomes the command, so that nothing of the command ever is
 * outside. It ends with 126, as a shell that can't run something, if it can't join.
 */
const ENTER = `
{ echo ${OOM_SCORE} > /proc/self/oom_score_adj; } 2>/dev/null
[ -z "$1" ] || { ulimit -u "$1" || ulimit -p "$1"; } 2>/dev/null
shift
exec "$@"`;

/** The command line that starts a hosted command: in its group, and as the first that a machine out of memory ends. */
export function entering(
  command: readonly string[],
  group: ProcessGroup | null,
  userProcesses: number | null,
): string[] {
  const limited = ["/bin/sh", "-c", ENTER, "sh", userProcesses === null ? "" : String(userProcesses), ...command];
  return group === null ? limited : group.entering(limited);
}
