import type { BuildView } from "../../functions/protocol/builds.ts";
import type { ConnectionState } from "../connection/connection.ts";
import { addressOfBuild, buildsOf, localAddress, type Overview } from "./overview.ts";
import { padded, type Line, type Look, type Piece } from "./paint.ts";

/** All that the live view shows. */
export interface ViewState {
  runnerId: string;
  version: string;
  /** The host of the hub. */
  server: string;
  connection: ConnectionState;
  isDraining: boolean;
  overview: Overview;
  /** The id of a build. */
  selected: string | null;
  log: readonly string[];
  filter: string;
  /** Keys go into the filter. */
  isTyping: boolean;
  /** What the last key did. */
  notice: string;
  now: number;
}

/** Rows of a list before it says how many more there are. */
const LIST_ROWS = 6;
const LOG_ROWS_AT_LEAST = 5;
const KEYS = "n/p build · o open · c copy · / filter · r reconnect · q drain and quit";

const LOOKS: Record<string, Look> = {
  online: "green",
  running: "green",
  completed: "green",
  connecting: "yellow",
  lost: "yellow",
  queued: "yellow",
  waiting: "yellow",
  starting: "yellow",
  installing: "yellow",
  building: "yellow",
  unpacking: "yellow",
  stopping: "yellow",
  interrupted: "yellow",
  refused: "red",
  replaced: "red",
  failed: "red",
  crashed: "red",
};

/** The lines of a screen with so many rows. */
export function viewLines(state: ViewState, rows: number): Line[] {
  const head = headLines(state);
  const foot = footLines(state);
  const sections = [deploymentLines(state), projectLines(state), buildLines(state)].filter(
    (section) => section.length > 0,
  );
  const shown: Line[] = [...head];
  for (const section of sections) {
    if (shown.length + section.length + foot.length + LOG_ROWS_AT_LEAST + 2 > rows) continue;
    shown.push([], ...section);
  }
  const room = rows - shown.length - foot.length - 2;
  if (room > 0) shown.push([], heading(logTitle(state)), ...logLines(state, room));
  while (shown.length + foot.length < rows) shown.push([]);
  return [...shown.slice(0, Math.max(0, rows - foot.length)), ...foot];
}

function headLines({ runnerId, version, server, connection, isDraining, now }: ViewState): Line[] {
  const { name, reason, since } = connection;
  const facts: Piece[] = [
    { text: "● ", look: LOOKS[name] },
    { text: name, look: LOOKS[name] },
    { text: ` to ${server} for ${span(now - Date.parse(since))}` },
    ...(reason === "" ? [] : [{ text: ` · ${reason}`, look: "dim" as const }]),
    ...(isDraining ? [{ text: " · draining: no new work", look: "yellow" as const }] : []),
  ];
  return [
    [
      { text: `Signalbox runner ${runnerId}`, look: "bold" },
      { text: ` ${version}`, look: "dim" },
    ],
    facts,
  ];
}

function deploymentLines({ overview }: ViewState): Line[] {
  const rows = overview.deployments.map(({ app, id, state, port, reason, crashes }): Line => [
    `  ${padded(`${app}/${id}`, 32)} `,
    stateOf(state),
    ` ${state === "running" ? (localAddress(port) ?? "") : (reason ?? "")}`,
    ...(crashes > 0 ? [{ text: ` · ended by itself ${crashes} times`, look: "yellow" as const }] : []),
  ]);
  return section("Deployments", rows);
}

function projectLines({ overview }: ViewState): Line[] {
  const rows = overview.projects.map(({ slug, framework, devServer, builds }): Line => {
    const address = devServer.state === "running" ? localAddress(devServer.port) : devServer.reason;
    const last = builds.at(-1);
    return [
      `  ${padded(slug, 32)} `,
      stateOf(devServer.state),
      ` ${padded(address ?? "no dev server", 28)}`,
      { text: ` ${framework ?? ""}`, look: "dim" },
      { text: last === undefined ? "" : ` · last build ${last.state}`, look: "dim" },
    ];
  });
  return section("Projects", rows);
}

function buildLines(state: ViewState): Line[] {
  const { overview, selected, now } = state;
  const builds = buildsOf(overview);
  const at = Math.max(
    0,
    builds.findIndex(({ id }) => id === selected),
  );
  // The selected one stays in sight.
  const from = Math.max(0, Math.min(at - LIST_ROWS + 2, builds.length - LIST_ROWS));
  const rows = builds.slice(from).map((build): Line => [
    {
      text: `${build.id === selected ? "▸" : " "} ${padded(build.project, 20)} `,
      look: lookOf(build, selected),
    },
    stateOf(build.state),
    ` ${padded(span(now - Date.parse(build.createdAt)), 8)} `,
    build.questions.length > 0 ? { text: "has a question · ", look: "yellow" } : "",
    build.state === "failed" ? (build.reason ?? "") : build.prompt,
  ]);
  return section("Builds", rows, builds.length);
}

function lookOf({ id }: BuildView, selected: string | null): Look | undefined {
  return id === selected ? "bold" : undefined;
}

function section(title: string, rows: Line[], count = rows.length): Line[] {
  if (rows.length === 0) return [];
  const shown = rows.slice(0, rows.length > LIST_ROWS ? LIST_ROWS - 1 : LIST_ROWS);
  const rest = rows.length - shown.length;
  return [
    heading(`${title} (${count})`),
    ...shown,
    ...(rest > 0 ? [[{ text: `  and ${rest} more`, look: "dim" as const }]] : []),
  ];
}

function heading(text: string): Line {
  return [{ text, look: "cyan" }];
}

function stateOf(state: string): Piece {
  return { text: padded(state, 11), look: LOOKS[state] };
}

function logTitle({ filter, log }: ViewState): string {
  if (filter === "") return "Log";
  const count = log.filter((line) => matches(line, filter)).length;
  return `Log with "${filter}" (${count} of ${log.length} lines)`;
}

function logLines({ log, filter }: ViewState, rows: number): Line[] {
  const fitting = filter === "" ? log : log.filter((line) => matches(line, filter));
  return fitting.slice(-rows).map((line): Line => [`  ${line}`]);
}

function matches(line: string, filter: string): boolean {
  return line.toLowerCase().includes(filter.toLowerCase());
}

function footLines({ isTyping, filter, notice, overview, selected }: ViewState): Line[] {
  if (isTyping)
    return [[{ text: `Filter: ${filter}▏`, look: "bold" }, { text: "  Enter keeps it, Esc clears it" }]];
  const build = buildsOf(overview).find(({ id }) => id === selected);
  const address = build === undefined ? null : addressOfBuild(overview, build);
  const about = notice !== "" ? notice : (address ?? "");
  return [[{ text: KEYS, look: "inverse" }, { text: about === "" ? "" : `  ${about}` }]];
}

/** "12 s", "3 min", "2 h", "4 d". */
function span(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min`;
  return seconds < 86_400 ? `${Math.floor(seconds / 3_600)} h` : `${Math.floor(seconds / 86_400)} d`;
}
