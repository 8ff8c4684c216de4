import { useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { AuditEntry } from "../api-types.ts";
import { call } from "../api.ts";
import { useLive } from "../live.ts";
import { Button } from "../parts/button.tsx";
import { Empty } from "../parts/empty.tsx";
import { Loading } from "../parts/loading.tsx";
import { Since } from "../parts/since.tsx";
import { Link } from "../router.tsx";

const PAGE = 50;

export function Audit(): JSX.Element {
  return (
    <>
      <h1>Audit</h1>
      <p class="quiet">Who changed what, newest first.</p>
      <AuditList app={null} />
    </>
  );
}

/** Entries of one app, or of everything. */
export function AuditList({ app }: { app: string | null }): JSX.Element {
  const [older, setOlder] = useState<AuditEntry[]>([]);
  const [isEnd, setEnd] = useState(false);
  const load = async (before: string | undefined, signal?: AbortSignal): Promise<AuditEntry[]> => {
    const query = new URLSearchParams({ limit: String(PAGE) });
    if (app !== null) query.set("app", app);
    if (before !== undefined) query.set("before", before);
    const options = signal === undefined ? {} : { signal };
    return (await call<{ entries: AuditEntry[] }>("GET", `/audit?${query}`, undefined, options)).entries;
  };
  const newest = useLive(app === null ? ["app:*", "runner:*", "janitor"] : `app:${app}`, (signal) =>
    load(undefined, signal),
  );
  const shown = newest.value ?? [];
  const last = older.at(-1) ?? shown.at(-1);
  // Newer entries have pushed some of these out of the first page.
  const rest = older.filter(({ id }) => !shown.some((one) => one.id === id));
  const more = async (): Promise<void> => {
    const next = await load(last?.id);
    setOlder([...older, ...next]);
    setEnd(next.length < PAGE);
  };
  return (
    <>
      <Loading of={newest} />
      {newest.value?.length === 0 && <Empty title="Nothing was changed yet." />}
      {shown.length > 0 && (
        <div class="wide">
          <table>
            <thead>
              <tr>
                <th>When</th>
                <th>Who</th>
                <th>What</th>
                {app === null && <th>App</th>}
                <th>Details</th>
              </tr>
            </thead>
            <tbody>
              {[...shown, ...rest].map((entry) => (
                <tr key={entry.id}>
                  <td>
                    <Since at={entry.at} /> ago
                  </td>
                  <td>{entry.actor}</td>
                  <td>{entry.action}</td>
                  {app === null && (
                    <td>{entry.app !== null && <Link to={["apps", entry.app]}>{entry.app}</Link>}</td>
                  )}
                  <td class="quiet">{detailsOf(entry)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {shown.length >= PAGE && !isEnd && <Button act={more}>Older ones</Button>}
    </>
  );
}

function detailsOf({ details, fromVersion, toVersion }: AuditEntry): string {
  const versions =
    toVersion === null ? [] : [`version ${fromVersion === null ? "" : `${fromVersion} → `}${toVersion}`];
  return [...Object.entries(details).map(([name, value]) => `${name}: ${value}`), ...versions].join(" · ");
}
