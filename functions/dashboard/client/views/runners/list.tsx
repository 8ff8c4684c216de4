import { useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { Runner } from "../../api-types.ts";
import { useLive } from "../../live.ts";
import { Empty } from "../../parts/empty.tsx";
import { Field } from "../../parts/field.tsx";
import { Loading } from "../../parts/loading.tsx";
import { Link } from "../../router.tsx";
import { AddRunner } from "./add.tsx";
import { loadRunners } from "./load.ts";
import { RunnerState, toneOf } from "./state.tsx";

/** Enough to look through by eye; beyond, the list is searched. */
const SHOWN = 50;
/** What needs somebody comes first. */
const RANKS = { bad: 0, busy: 1, good: 2, off: 3 };

export function RunnerList(): JSX.Element {
  const runners = useLive("runner:*", loadRunners);
  const [search, setSearch] = useState("");
  const [shown, setShown] = useState(SHOWN);
  const all = runners.value ?? [];
  const wanted = search.trim().toLowerCase();
  const found = all
    .filter(({ id, state, reason }) =>
      [id, state, reason].some((text) => text.toLowerCase().includes(wanted)),
    )
    .sort((one, other) => RANKS[toneOf(one)] - RANKS[toneOf(other)] || (one.id < other.id ? -1 : 1));
  return (
    <>
      <h1>Runners</h1>
      <Loading of={runners} />
      {runners.value !== undefined && all.length === 0 && (
        <Empty title="No runner has connected yet.">
          <p class="quiet">
            A runner builds and hosts apps and projects on a machine of yours. Add one below.
          </p>
        </Empty>
      )}
      {all.length > 0 && (
        <>
          <p class="quiet">{countsOf(all)}</p>
          {all.length > 8 && (
            <Field
              label="Find a runner"
              type="search"
              value={search}
              onInput={setSearch}
              placeholder="id, state or reason"
            />
          )}
          <div class="wide">
            <table>
              <thead>
                <tr>
                  <th>Runner</th>
                  <th>State</th>
                  <th>Confinement</th>
                  <th>Secret</th>
                </tr>
              </thead>
              <tbody>
                {found.slice(0, shown).map((runner) => (
                  <tr key={runner.id}>
                    <td>
                      <Link to={["runners", runner.id]}>{runner.id}</Link>
                    </td>
                    <td>
                      <RunnerState runner={runner} />
                    </td>
                    <td>{runner.confinement?.level ?? "not said"}</td>
                    <td>{secretOf(runner)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
          {found.length > shown && (
            <button type="button" onClick={() => setShown(shown + SHOWN)}>
              Show {Math.min(SHOWN, found.length - shown)} of {found.length - shown} more
            </button>
          )}
        </>
      )}
      {runners.value !== undefined && <AddRunner />}
    </>
  );
}

export function secretOf({ enrolled, ownCredential }: Runner): string {
  return enrolled ? "its own" : ownCredential ? "its own, not used yet" : "shared";
}

function countsOf(runners: Runner[]): string {
  const counts = new Map<string, number>();
  for (const { state } of runners) counts.set(state, (counts.get(state) ?? 0) + 1);
  return [...counts].map(([state, count]) => `${count} ${state}`).join(" · ");
}
