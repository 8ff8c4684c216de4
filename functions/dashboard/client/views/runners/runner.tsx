import { useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { App, RunnerDetails } from "../../api-types.ts";
import { call } from "../../api.ts";
import { useLive, useWatch } from "../../live.ts";
import { Confirm } from "../../parts/confirm.tsx";
import { Copy } from "../../parts/copy.tsx";
import { Facts } from "../../parts/facts.tsx";
import { Loading } from "../../parts/loading.tsx";
import { duration, Since } from "../../parts/since.tsx";
import { Link, navigate } from "../../router.tsx";
import { loadApps } from "../apps/list.tsx";
import { secretOf } from "./list.tsx";
import { runnerPath } from "./load.ts";
import { RunnerState } from "./state.tsx";

interface Watched {
  status: RunnerDetails["status"];
  openStreams: number;
  lastHeartbeat: string | null;
}

interface Project {
  slug: string;
  name: string;
  runnerId: string;
}

export function RunnerPage({ id }: { id: string }): JSX.Element {
  const runner = useLive(`runner:${id}`, (signal) =>
    call<RunnerDetails>("GET", runnerPath(id), undefined, { signal }),
  );
  const seen = useWatch<Watched>(`runner:${id}`);
  const on = useLive(["app:*", "project:*"], (signal) => whatIsOn(id, signal), `on:${id}`);
  const known = runner.value;
  return (
    <>
      <p>
        <Link to={["runners"]}>← Runners</Link>
      </p>
      <div class="row apart">
        <h1>{id}</h1>
        {known !== undefined && <RunnerActions runner={known} onDone={runner.reload} />}
      </div>
      <Loading of={runner} />
      {known !== undefined && (
        <>
          <p>
            <RunnerState runner={known} />
          </p>
          {!known.connected && (
            <p class="problem">
              This runner is away. What it hosts can't be reached until it is back; it comes back by itself
              once it can reach Signalbox.
            </p>
          )}
          <div class="two">
            <section class="panel">
              <h2>Machine</h2>
              <Machine runner={known} seen={seen} />
            </section>
            <section class="panel">
              <h2>On it</h2>
              <Loading of={on} />
              {on.value !== undefined && <On {...on.value} />}
            </section>
          </div>
          <section class="panel">
            <h2>Connections</h2>
            <div class="wide">
              <table>
                <thead>
                  <tr>
                    <th>Number</th>
                    <th>State</th>
                    <th>Why</th>
                    <th>Connected</th>
                  </tr>
                </thead>
                <tbody>
                  {known.connections.map((one) => (
                    <tr key={String(one.epoch)}>
                      <td>{one.epoch}</td>
                      <td>{one.state}</td>
                      <td>{one.reason}</td>
                      <td>
                        <Since at={one.connectedAt} /> ago
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          </section>
        </>
      )}
    </>
  );
}

async function whatIsOn(
  id: string,
  signal: AbortSignal,
): Promise<{ deployments: { app: string; id: string; state: string }[]; projects: Project[] }> {
  const [apps, { projects }] = await Promise.all([
    loadApps(signal),
    call<{ projects: Project[] }>("GET", "/projects?limit=500", undefined, { signal }),
  ]);
  const isHere = ({ target, state }: App["deployments"][number]): boolean =>
    target.kind === "runner" && target.runnerId === id && state !== "removed" && state !== "failed";
  return {
    deployments: apps.flatMap((app) =>
      app.deployments.filter(isHere).map((one) => ({ app: app.name, id: one.id, state: one.state })),
    ),
    projects: projects.filter(({ runnerId }) => runnerId === id),
  };
}

function On({ deployments, projects }: Awaited<ReturnType<typeof whatIsOn>>): JSX.Element {
  if (deployments.length + projects.length === 0) return <p class="quiet">Nothing.</p>;
  return (
    <ul>
      {deployments.map(({ app, id, state }) => (
        <li>
          <Link to={["apps", app, "deployments", id]}>
            {app} {id}
          </Link>{" "}
          <span class={`state ${state}`}>{state}</span>
        </li>
      ))}
      {projects.map(({ slug, name }) => (
        <li>
          <Link to={["projects", slug]}>{name}</Link> <span class="quiet">project</span>
        </li>
      ))}
    </ul>
  );
}

/** What the runner said last of its machine. A field that it doesn't send is left out. */
function Machine({ runner, seen }: { runner: RunnerDetails; seen: Watched | undefined }): JSX.Element {
  const status = (seen?.status ?? runner.status)?.["payload"];
  const said = (typeof status === "object" && status !== null ? status : {}) as Record<string, unknown>;
  const disk = (said["disk"] ?? {}) as Record<string, unknown>;
  const labels = Object.entries((said["labels"] ?? {}) as Record<string, unknown>);
  const { confinement } = runner;
  const heartbeat = seen?.lastHeartbeat ?? runner.lastHeartbeat;
  const text = (value: unknown): string | null =>
    typeof value === "string" || typeof value === "number" ? String(value) : null;
  return (
    <Facts
      rows={[
        ["Load", typeof said["load"] === "number" ? said["load"].toFixed(2) : null],
        [
          "Disk free",
          typeof disk["freeBytes"] === "number"
            ? `${bytes(disk["freeBytes"])} (${text(disk["state"]) ?? ""})`
            : text(disk["error"]),
        ],
        [
          "Disk used",
          typeof disk["usedBytes"] === "number"
            ? `${bytes(disk["usedBytes"])}${typeof disk["quotaBytes"] === "number" ? ` of ${bytes(disk["quotaBytes"])}` : ""}`
            : null,
        ],
        ["Open requests and sockets", seen?.openStreams ?? runner.openStreams],
        ["Work under way", text(said["busy"])],
        ["Version", text(said["version"])],
        [
          "Host",
          [text(said["hostname"]), text(said["platform"])].filter((part) => part !== null).join(", ") || null,
        ],
        [
          "Up for",
          typeof said["uptimeSeconds"] === "number" ? duration(said["uptimeSeconds"] * 1_000) : null,
        ],
        [
          "Labels",
          labels.length === 0
            ? null
            : labels.map(([name, value]) => `${name}=${text(value) ?? ""}`).join(", "),
        ],
        [
          "Confinement",
          confinement === null
            ? "it has never said"
            : `${confinement.level}, network ${confinement.network}${confinement.why === null ? "" : `: ${confinement.why}`}`,
        ],
        ["Secret", secretOf(runner)],
        ["Speaks", runner.protocol],
        [
          "Last heard of",
          heartbeat === null ? null : (
            <>
              <Since at={heartbeat} /> ago
            </>
          ),
        ],
      ]}
    />
  );
}

function bytes(count: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let value = count;
  let unit = 0;
  while (value >= 1_000 && unit < units.length - 1) {
    value /= 1_000;
    unit += 1;
  }
  return `${value < 10 && unit > 0 ? value.toFixed(1) : Math.round(value)} ${units[unit] ?? ""}`;
}

function RunnerActions({ runner, onDone }: { runner: RunnerDetails; onDone: () => void }): JSX.Element {
  const { id, drainRequested } = runner;
  const [secret, setSecret] = useState("");
  return (
    <div class="row">
      {drainRequested ? (
        <Confirm
          label="End the drain"
          kind="main"
          title={`Give ${id} work again?`}
          says="New deployments and projects may be placed on it again."
          act={() => call("POST", runnerPath(id, "/drain"), { draining: false })}
        />
      ) : (
        <Confirm
          label="Drain"
          title={`Drain ${id}?`}
          says="It gets no new deployments, projects and builds. What is on it goes on."
          act={() => call("POST", runnerPath(id, "/drain"), {})}
        />
      )}
      <Confirm
        label="New secret"
        title={`Another secret for ${id}?`}
        says="Its former secret is worth nothing from now on. If it is connected with that, its connection ends, and it stays away until it is started with the new one."
        act={async () =>
          setSecret((await call<{ secret: string }>("POST", runnerPath(id, "/credentials"))).secret)
        }
      />
      {runner.ownCredential && (
        <Confirm
          label="Revoke its secret"
          kind="danger"
          title={`Revoke the secret of ${id}?`}
          says="A connection with it ends at once. Afterwards the shared secret opens this id again, once."
          act={() => call("DELETE", runnerPath(id, "/credentials"))}
        />
      )}
      {!runner.connected && (
        <Confirm
          label="Delete"
          kind="danger"
          title={`Delete ${id}?`}
          says="Signalbox forgets it and its secret. What is on its disk stays there. A runner that connects under this id is a new one."
          act={async () => {
            await call("DELETE", runnerPath(id));
            navigate("runners");
          }}
        />
      )}
      {secret !== "" && (
        <div class="panel all">
          <p>Start it with this as RUNNER_SHARED_SECRET. It is shown this once.</p>
          <Copy text={secret} />
          <button
            type="button"
            onClick={() => {
              setSecret("");
              onDone();
            }}
          >
            I have it
          </button>
        </div>
      )}
    </div>
  );
}
