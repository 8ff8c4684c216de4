import { expect, test } from "vitest";
import type { BuildView, ProjectView } from "../../functions/protocol/builds.ts";
import type { HostedDeployment } from "../../functions/protocol/runner-api.ts";
import { addressOfBuild, buildsOf } from "../../runner/terminal/overview.ts";
import { paintLine } from "../../runner/terminal/paint.ts";
import { viewLines, type ViewState } from "../../runner/terminal/view.ts";

const NOW = Date.parse("2026-12-01T06:00:00Z");
const HOSTILE = "\u001b]52;c;cm0gLXJm\u0007\u001b[2J\u009b31m\u202ename\r\nforged line";

function build(id: string, more: Partial<BuildView> = {}): BuildView {
  return {
    id: `site.${id}`,
    project: "site",
    state: "completed",
    reason: null,
    agent: "template",
    prompt: `prompt ${id}`,
    seq: 1,
    createdAt: `2026-12-01T05:${id}:00Z`,
    updatedAt: "2026-12-01T05:59:00Z",
    questions: [],
    ...more,
  };
}

function project(more: Partial<ProjectView> = {}): ProjectView {
  const devServer = { state: "running", port: 5_173, reason: null, lastLines: [] } as const;
  const createdAt = "2026-12-01T05:00:00Z";
  return {
    slug: "site",
    name: "Site",
    agent: "template",
    framework: "vite",
    createdAt,
    devServer: { ...devServer, lastLines: [] },
    builds: [],
    ...more,
  };
}

function deployment(id: string, more: Partial<HostedDeployment> = {}): HostedDeployment {
  return {
    app: "shop",
    id,
    state: "running",
    reason: null,
    lastLines: [],
    port: 40_001,
    crashes: 0,
    source: { sha256: "0" },
    confinement: null,
    logCursor: 0,
    createdAt: "",
    updatedAt: "",
    ...more,
  };
}

function state(more: Partial<ViewState> = {}): ViewState {
  return {
    runnerId: "laptop",
    version: "1",
    server: "signalbox.example.com",
    connection: { name: "online", reason: "", since: "2026-12-01T05:57:00Z" },
    isDraining: false,
    overview: { deployments: [], projects: [] },
    selected: null,
    log: [],
    filter: "",
    isTyping: false,
    notice: "",
    now: NOW,
    ...more,
  };
}

const screen = (given: ViewState, rows = 30, columns = 100): string[] =>
  viewLines(given, rows).map((line) => paintLine(line, columns, false));

test("a screen is exactly as high as the terminal, whatever is on it", () => {
  const many = state({
    overview: {
      deployments: Array.from({ length: 50 }, (_, index) => deployment(`v${index}`)),
      projects: [project({ builds: Array.from({ length: 40 }, (_, index) => build(String(10 + index))) })],
    },
    log: Array.from({ length: 500 }, (_, index) => `line ${index}`),
  });
  for (const rows of [1, 3, 8, 12, 24, 60]) expect([rows, screen(many, rows).length]).toEqual([rows, rows]);
  const shown = screen(many, 60).join("\n");
  expect(shown).toContain("Deployments (50)");
  expect(shown).toContain("and 45 more");
  expect(shown).toContain("line 499");
});

test("connection, deployments, projects, dev servers with addresses and builds are on it", () => {
  const shown = screen(
    state({
      overview: {
        deployments: [
          deployment("v1"),
          deployment("v2", { state: "failed", reason: "it exited with 1", port: null }),
        ],
        projects: [project({ builds: [build("10"), build("20", { state: "waiting", questions: ["q1"] })] })],
      },
      selected: "site.10",
    }),
  ).join("\n");
  expect(shown).toMatch(/online to signalbox\.example\.com for 3 min/);
  expect(shown).toMatch(/shop\/v1 +running +http:\/\/localhost:40001/);
  expect(shown).toMatch(/shop\/v2 +failed +it exited with 1/);
  expect(shown).toMatch(/site +running +http:\/\/localhost:5173/);
  expect(shown).toMatch(/ site +waiting .*has a question · prompt 20/);
  expect(shown).toMatch(/▸ site +completed .*prompt 10/);
  // The address of the selected build stands by the keys.
  expect(shown.split("\n").at(-1)).toContain("http://localhost:5173");
});

test("the selected build stays in sight in a long list", () => {
  const builds = Array.from({ length: 30 }, (_, index) => build(String(10 + index)));
  const overview = { deployments: [], projects: [project({ builds })] };
  for (const { id } of buildsOf(overview))
    expect(screen(state({ overview, selected: id })).filter((line) => line.startsWith("▸"))).toHaveLength(1);
});

test("the filter shows the lines with it, whatever their case, and how many there are", () => {
  const shown = screen(
    state({ log: ["one", "TWO with Error", "three", "error four"], filter: "error" }),
  ).join("\n");
  expect(shown).toContain('Log with "error" (2 of 4 lines)');
  expect(shown).toContain("TWO with Error");
  expect(shown).not.toContain("three");
});

test("no string of others emits a control sequence or a line of its own", () => {
  const overview = {
    deployments: [deployment("v1", { app: HOSTILE, state: "failed", reason: HOSTILE })],
    projects: [
      project({
        slug: HOSTILE,
        framework: HOSTILE,
        devServer: { state: "crashed", port: null, reason: HOSTILE, lastLines: [HOSTILE] },
        builds: [
          build("10", { project: HOSTILE, prompt: HOSTILE }),
          build("11", { state: "failed", reason: HOSTILE }),
        ],
      }),
    ],
  };
  const connection = { name: "lost", reason: HOSTILE, since: "2026-12-01T05:57:00Z" } as const;
  const given = state({
    overview,
    connection,
    log: [HOSTILE],
    filter: "",
    notice: HOSTILE,
    runnerId: HOSTILE,
  });
  for (const isTyping of [false, true]) {
    const lines = viewLines({ ...given, isTyping, filter: isTyping ? HOSTILE : "" }, 40);
    for (const line of lines) {
      expect(paintLine(line, 300, false)).not.toMatch(
        /[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/,
      );
      // With colours there are ours and no others.
      expect(paintLine(line, 300, true).replace(/\u001b\[\d+m/g, "")).not.toMatch(
        /[\u0000-\u001f\u007f-\u009f]/,
      );
    }
  }
});

test("a line is never wider than the terminal, and wide characters count as two", () => {
  expect(paintLine(["abcdef"], 4, false)).toBe("abcd");
  expect(paintLine(["日本語"], 5, false)).toBe("日本");
  expect(paintLine([{ text: "abc", look: "red" }, "def"], 4, true)).toBe("\u001b[31mabc\u001b[0md");
});

test("a build's address is that of its project's dev server, while that runs", () => {
  const one = build("10");
  expect(addressOfBuild({ deployments: [], projects: [project({ builds: [one] })] }, one)).toBe(
    "http://localhost:5173",
  );
  const stopped = { state: "stopped", port: 5_173, reason: null, lastLines: [] } as const;
  const projects = [project({ builds: [one], devServer: { ...stopped, lastLines: [] } })];
  expect(addressOfBuild({ deployments: [], projects }, one)).toBeNull();
});
