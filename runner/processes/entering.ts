import type { Launch } from "../confinement/launch.ts";

/** A machine out of memory ends hosted processes before the runner and its edge. Source: proc(5), -1000 to 1000. */
const OOM_SCORE = 500;
/** Installs and builds take what the others leave: a server that is late is late for its visitors. */
export const NICENESS = { server: 0, step: 5 };

/**
 * Takes its limits and waits for the runner to put it into its group before it becomes the command, so that nothing of
 * the command is ever outside. It ends with 126, as a shell that can't run something, if it isn't put there within 10 s.
 */
const ENTER = `
{ echo ${OOM_SCORE} > /proc/self/oom_score_adj; } 2>/dev/null
# Where the system shares the processor among sessions, the session's own niceness is what counts.
{ echo "$3" > /proc/self/autogroup; } 2>/dev/null
[ -z "$2" ] || { ulimit -u "$2" || ulimit -p "$2"; } 2>/dev/null
is_in() { while read -r line; do case $line in *"/$1") return 0;; esac; done < /proc/self/cgroup; return 1; }
left=1000
[ -z "$1" ] || until is_in "$1"; do
  [ $left -gt 0 ] || { echo "It can't enter its cgroup." >&2; exit 126; }
  left=$((left - 1)); /bin/sleep 0.01
done
niceness=$3; shift 3
exec /usr/bin/nice -n "$niceness" "$@"`;

/** How a hosted command starts: in its group, and as the first that a machine out of memory ends. */
export function entering(
  launch: Launch,
  group: string | null,
  userProcesses: number | null,
  niceness: number,
): Launch {
  const limit = userProcesses === null ? "" : String(userProcesses);
  return {
    ...launch,
    file: "/bin/sh",
    args: ["-c", ENTER, "sh", group ?? "", limit, String(niceness), launch.file, ...launch.args],
  };
}
