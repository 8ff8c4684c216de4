import type { ProjectFiles } from "./project-files.ts";
import { procfileWeb } from "./procfile.ts";
import type { Guess, Recognised } from "./recognised.ts";

const ENTRY_FILES = [
  "main",
  "app",
  "server",
  "api",
  "wsgi",
  "asgi",
  "app/main",
  "app/app",
  "app/__init__",
  "src/main",
  "src/app",
];
const FASTAPI = /^(\w+)(?:\s*:\s*\w+)?\s*=\s*(?:\w+\.)?(?:FastAPI|Starlette|Litestar|Quart)\(/m;
/** Flask's own way: a function of the package makes the application. */
const FLASK_FACTORY = /^def (create_app|make_app)\(/m;
const FLASK = /^(\w+)(?:\s*:\s*\w+)?\s*=\s*(?:\w+\.)?Flask\(/m;

/** A Python project, with everything it needs in a virtual environment of its own. */
export function pythonProject(files: ProjectFiles): Recognised | null {
  const source = ["uv.lock", "requirements.txt", "pyproject.toml"].find((file) => files.has(file));
  const app = findApp(files);
  if (source === undefined && app === null) return null;
  const wanted = source === undefined ? "" : (files.read(source) ?? "");
  const web = procfileWeb(files);
  const start = web === null ? (app?.start ?? null) : { command: web, why: "web in Procfile" };
  const server = start === null ? null : (/^(uvicorn|gunicorn)\b/.exec(start.command)?.[1] ?? null);
  const lacks = server !== null && !new RegExp(`\\b${server}\\b`).test(wanted) ? server : null;
  return {
    name: "Python",
    install: installOf(source, lacks),
    build: null,
    start: start && { ...start, command: `PATH="$PWD/.venv/bin:$PATH"; export PATH; ${start.command}` },
    env: { PYTHONUNBUFFERED: "1" },
    ...(start === null
      ? { missing: "no FastAPI, Flask or Django application was found, and there is no Procfile" }
      : {}),
  };
}

function installOf(source: string | undefined, lacks: string | null): Guess {
  const more = lacks === null ? "" : ` ${lacks}`;
  const venv = "python3 -m venv .venv";
  const pip = ".venv/bin/python -m pip install --disable-pip-version-check -q";
  switch (source) {
    case "uv.lock": {
      // uv isn't everywhere; one beside the environment doesn't remove itself from it.
      const bring = `python3 -m venv .uv && .uv/bin/python -m pip install -q uv`;
      const sync = 'PATH="$PATH:$PWD/.uv/bin" uv sync --frozen --no-dev';
      const add = lacks === null ? "" : ` && PATH="$PATH:$PWD/.uv/bin" uv pip install${more}`;
      return { command: `{ command -v uv >/dev/null || { ${bring}; }; } && ${sync}${add}`, why: "uv.lock" };
    }
    case "requirements.txt":
      return { command: `${venv} && ${pip} -r requirements.txt${more}`, why: "requirements.txt" };
    case "pyproject.toml":
      return { command: `${venv} && ${pip} .${more}`, why: "pyproject.toml" };
    default:
      return {
        command: lacks === null ? venv : `${venv} && ${pip}${more}`,
        why: "a Python application without a list of what it needs",
      };
  }
}

function findApp(files: ProjectFiles): { start: Guess } | null {
  const packages = files.list(".").map((name) => `${name}/__init__`);
  for (const path of new Set([...ENTRY_FILES, ...packages])) {
    const text = files.read(`${path}.py`);
    if (text === null) continue;
    const module = path.replace(/\/__init__$/, "").replaceAll("/", ".");
    const asgi = FASTAPI.exec(text)?.[1];
    if (asgi !== undefined) {
      const command = `uvicorn ${module}:${asgi} --host "$HOST" --port "$PORT" --proxy-headers`;
      return { start: { command, why: `${path}.py has an ASGI application` } };
    }
    const wsgi = FLASK.exec(text)?.[1];
    if (wsgi !== undefined) {
      return { start: { command: gunicorn(`${module}:${wsgi}`), why: `${path}.py has a Flask application` } };
    }
    const factory = /\bFlask\(/.test(text) ? FLASK_FACTORY.exec(text)?.[1] : undefined;
    if (factory !== undefined) {
      const command = gunicorn(`"${module}:${factory}()"`);
      return { start: { command, why: `${path}.py makes a Flask application` } };
    }
  }
  if (!files.has("manage.py")) return null;
  const project = files.list(".").find((name) => files.has(`${name}/wsgi.py`));
  if (project === undefined) return null;
  return { start: { command: gunicorn(`${project}.wsgi`), why: "manage.py of Django" } };
}

function gunicorn(app: string): string {
  return `gunicorn --bind "$HOST:$PORT" ${app}`;
}
