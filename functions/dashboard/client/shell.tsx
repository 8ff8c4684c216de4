import { useEffect, useState } from "hono/jsx/dom";
import type { JSX } from "hono/jsx/dom/jsx-runtime";
import { useConnection } from "./live.ts";
import { Palette } from "./palette.tsx";
import { Button } from "./parts/button.tsx";
import { Since } from "./parts/since.tsx";
import { Link, useRoute } from "./router.tsx";
import { signOut } from "./sign-in.ts";
import { setTheme, theme, type Theme } from "./theme.ts";
import { Apps } from "./views/apps.tsx";
import { Audit } from "./views/audit.tsx";
import { Janitor } from "./views/janitor.tsx";
import { Projects } from "./views/projects.tsx";
import { Runners } from "./views/runners.tsx";
import { Tokens } from "./views/tokens.tsx";

const VIEWS: Record<string, { words: string; view: (props: { rest: string[] }) => JSX.Element }> = {
  apps: { words: "Apps", view: Apps },
  projects: { words: "Projects", view: Projects },
  runners: { words: "Runners", view: Runners },
  janitor: { words: "Janitor", view: Janitor },
  audit: { words: "Audit", view: Audit },
  tokens: { words: "Access", view: Tokens },
};

/** What surrounds every view. */
export function Shell(): JSX.Element {
  const [first = "apps", ...rest] = useRoute();
  const [palette, setPalette] = useState(false);
  useEffect(() => {
    const listener = (event: KeyboardEvent): void => {
      if (event.key.toLowerCase() !== "k" || !(event.metaKey || event.ctrlKey) || event.altKey) return;
      event.preventDefault();
      setPalette((open) => !open);
    };
    addEventListener("keydown", listener);
    return () => removeEventListener("keydown", listener);
  }, []);
  const view = VIEWS[first];
  const title = [view?.words ?? "Nothing here", ...rest].join(" · ");
  useEffect(() => {
    document.title = `${title} · Signalbox`;
  }, [title]);
  return (
    <>
      <a class="skip" href="#content">
        Skip to content
      </a>
      <header class="bar">
        <Link to={[]} class="brand">
          Signalbox
        </Link>
        <nav aria-label="Views">
          {Object.entries(VIEWS).map(([name, { words }]) => (
            <Link to={[name]} aria-current={name === first ? "page" : undefined}>
              {words}
            </Link>
          ))}
        </nav>
        <div class="tools">
          <button
            type="button"
            class="quiet"
            onClick={() => setPalette(true)}
            aria-keyshortcuts="Control+K Meta+K"
          >
            Go to <kbd>⌘K</kbd>
          </button>
          <ThemeSwitch />
          <Button kind="quiet" act={signOut}>
            Sign out
          </Button>
        </div>
      </header>
      <Disconnected />
      <main id="content" tabIndex={-1}>
        {view === undefined ? (
          <>
            <h1>Nothing here</h1>
            <p>
              There is no such page. <Link to={[]}>All apps</Link>
            </p>
          </>
        ) : (
          <view.view rest={rest} />
        )}
      </main>
      {palette && <Palette onClose={() => setPalette(false)} />}
    </>
  );
}

/** The first of three truths: it is you who is disconnected. What is on the page stays. */
function Disconnected(): JSX.Element {
  const { state, since } = useConnection();
  return (
    <div role="status" class="disconnected">
      {state === "broken" && (
        <p>
          You are disconnected from Signalbox since <Since at={since} />. What you see may be old; what you
          typed is kept. Trying again.
        </p>
      )}
    </div>
  );
}

const NEXT: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };
const SIGNS: Record<Theme, string> = { auto: "◐", light: "☀", dark: "☾" };

function ThemeSwitch(): JSX.Element {
  const [chosen, setChosen] = useState(theme());
  const press = (): void => {
    setTheme(NEXT[chosen]);
    setChosen(NEXT[chosen]);
  };
  return (
    <button
      type="button"
      class="quiet"
      aria-label={`Theme: ${chosen}. Change`}
      title={`Theme: ${chosen}`}
      onClick={press}
    >
      {SIGNS[chosen]}
    </button>
  );
}
