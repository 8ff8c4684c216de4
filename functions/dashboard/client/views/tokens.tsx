import { useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import type { App, Token, TokenCreated } from "../api-types.ts";
import { ApiProblem, call } from "../api.ts";
import { useDraft } from "../draft.ts";
import { useLive } from "../live.ts";
import { Button } from "../parts/button.tsx";
import { Confirm } from "../parts/confirm.tsx";
import { Copy } from "../parts/copy.tsx";
import { Empty } from "../parts/empty.tsx";
import { Field } from "../parts/field.tsx";
import { Loading } from "../parts/loading.tsx";
import { Since, Until } from "../parts/since.tsx";
import { loadApps } from "./apps/list.tsx";

const SCOPES: Record<string, string> = {
  admin: "everything, tokens and runners' credentials too",
  operate: "everything but tokens and runners' credentials",
  read: "to look",
};

const LIVES = [
  ["86400", "1 day"],
  ["604800", "7 days"],
  ["2592000", "30 days"],
  ["7776000", "90 days"],
  ["31536000", "1 year"],
] as const;

export function Tokens(): JSX.Element {
  const tokens = useLive("tokens", async (signal) => {
    const [{ tokens: list }, apps] = await Promise.all([
      call<{ tokens: Token[] }>("GET", "/tokens", undefined, { signal }),
      loadApps(signal),
    ]);
    return { list, apps };
  });
  const [created, setCreated] = useState<TokenCreated | null>(null);
  return (
    <>
      <h1>Access tokens</h1>
      <p class="quiet">For programs and colleagues: each can do less than everything, and ends by itself.</p>
      {created !== null && (
        <section class="panel" role="status">
          <h2>{created.name} was created</h2>
          <p>Copy it now: it is shown this once, and stored nowhere.</p>
          <Copy text={created.token} />
          <p class="quiet">The command line takes it from the environment:</p>
          <Copy
            text={`SIGNALBOX_URL=${location.origin} SIGNALBOX_TOKEN=${created.token} npx signalbox status`}
          />
          <Button act={() => setCreated(null)}>I have it</Button>
        </section>
      )}
      <Loading of={tokens} />
      {tokens.value !== undefined && (
        <>
          <NewToken
            apps={tokens.value.apps}
            onCreated={(made) => {
              setCreated(made);
              tokens.reload();
            }}
          />
          {tokens.value.list.length === 0 ? (
            <Empty title="No token yet." command="npx signalbox tokens create ci --scope deploy:my-app" />
          ) : (
            <List tokens={tokens.value.list} onRevoked={tokens.reload} />
          )}
        </>
      )}
    </>
  );
}

function NewToken({
  apps,
  onCreated,
}: {
  apps: App[];
  onCreated: (made: TokenCreated) => void;
}): JSX.Element {
  const [name, setName] = useDraft("token:name");
  const [scope, setScope] = useState("read");
  const [life, setLife] = useState("7776000");
  const [problem, setProblem] = useState<ApiProblem | null>(null);
  const options = [
    ...Object.entries(SCOPES).map(([id, words]) => [id, `${id}: ${words}`] as const),
    ...apps.map((app) => [`deploy:${app.name}`, `deploy:${app.name}: to roll out ${app.name}`] as const),
  ];
  const create = async (): Promise<void> => {
    try {
      const made = await call<TokenCreated>("POST", "/tokens", {
        name,
        scopes: [scope],
        expiresInSeconds: Number(life),
      });
      setName("");
      setProblem(null);
      onCreated(made);
    } catch (error) {
      if (error instanceof ApiProblem) setProblem(error);
      throw error;
    }
  };
  return (
    <section class="panel">
      <h2>New token</h2>
      <div class="three">
        <Field
          label="Name"
          value={name}
          onInput={setName}
          hint="What the audit calls its holder"
          error={problem?.fields.find(({ field }) => field === "name")?.message}
        />
        <Field label="May do" value={scope} onInput={setScope} options={options} />
        <Field label="Ends after" value={life} onInput={setLife} options={LIVES} />
      </div>
      <div class="row end">
        <Button kind="main" act={create}>
          Create token
        </Button>
      </div>
    </section>
  );
}

function List({ tokens, onRevoked }: { tokens: Token[]; onRevoked: () => void }): JSX.Element {
  return (
    <div class="wide">
      <table>
        <thead>
          <tr>
            <th>Name</th>
            <th>May do</th>
            <th>Last used</th>
            <th>Ends</th>
            <th>Made by</th>
            <td></td>
          </tr>
        </thead>
        <tbody>
          {tokens.map((token) => (
            <tr key={token.id}>
              <td>
                <strong>{token.name}</strong>
              </td>
              <td>{token.scopes.join(", ")}</td>
              <td>
                {token.lastUsedAt === null ? (
                  "never"
                ) : (
                  <>
                    <Since at={token.lastUsedAt} /> ago
                  </>
                )}
              </td>
              <td>
                {Date.parse(token.expiresAt) < Date.now() ? (
                  "has ended"
                ) : (
                  <>
                    in <Until at={token.expiresAt} />
                  </>
                )}
              </td>
              <td>{token.by}</td>
              <td>
                <Confirm
                  label="Revoke"
                  kind="danger"
                  title={`Revoke ${token.name}?`}
                  says="Whoever holds it is refused from the next call on. That can't be undone."
                  act={async () => {
                    await call("DELETE", `/tokens/${token.id}`);
                    onRevoked();
                  }}
                />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
