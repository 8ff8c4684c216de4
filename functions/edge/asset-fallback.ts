import { isRoutable, isTooOld, type AppDocument, type Deployment } from "../apps/app-document.ts";
import type { Asked } from "./asked.ts";
import { ReadBudget } from "./read-budget.ts";

/** A file of a page, by what the browser is going to use it as. */
export type AssetKind = "script" | "style" | "font" | "image" | "media" | "track" | "manifest";

const BY_DEST: Record<string, AssetKind> = {
  script: "script",
  worker: "script",
  sharedworker: "script",
  audioworklet: "script",
  paintworklet: "script",
  style: "style",
  font: "font",
  image: "image",
  audio: "media",
  video: "media",
  track: "track",
  manifest: "manifest",
};

const BY_ENDING: [AssetKind, RegExp][] = [
  ["script", /\.[cm]?js$/i],
  ["style", /\.css$/i],
  ["font", /\.(?:woff2?|ttf|otf|eot)$/i],
  ["image", /\.(?:png|apng|jpe?g|gif|webp|avif|svg|ico|bmp)$/i],
  ["media", /\.(?:mp[34]|m4[av]|webm|og[agv]|wav|aac|flac|mov)$/i],
  ["track", /\.vtt$/i],
  ["manifest", /\.webmanifest$|\/manifest\.json$/i],
];

/** What a browser takes for each; fonts and media often come without a type of their own. */
const TYPES: Record<AssetKind, RegExp> = {
  script: /^(?:text|application)\/(?:x-)?(?:java|ecma)script$/,
  style: /^text\/css$/,
  font: /^(?:font\/[\w.+-]+|application\/(?:x-)?font-[\w.+-]+|application\/vnd\.ms-fontobject|application\/octet-stream)$/,
  image: /^image\//,
  media: /^(?:audio\/|video\/|application\/(?:ogg|octet-stream)$)/,
  track: /^text\/vtt$/,
  manifest: /^application\/(?:manifest\+)?json$/,
};

/** Null where a request isn't for a file that another version may answer. */
export function assetKindOf(
  request: Request,
  path: string,
  asked: Asked,
  names: ReadonlySet<string>,
): AssetKind | null {
  if (request.method !== "GET" || request.body !== null || asked.navigation || asked.serviceWorker)
    return null;
  const kind =
    asked.dest === null
      ? path.includes(".") && BY_ENDING.find(([, ending]) => ending.test(path))?.[0]
      : Object.hasOwn(BY_DEST, asked.dest) && BY_DEST[asked.dest];
  if (!kind) return null;
  // The rest of a file whose beginning may have come from any version.
  if (names.has("if-range")) return null;
  const range = names.has("range") ? request.headers.get("range") : null;
  return range === null || /^bytes=\d+-\d*$/.test(range) ? kind : null;
}

/** It isn't there: servers of single pages answer with their page instead. */
export function isMissing(answer: Response): boolean {
  const { status } = answer;
  return status === 404 || status === 410 || (status === 200 && typeOf(answer) === "text/html");
}

function fits(answer: Response, kind: AssetKind, isRange: boolean): boolean {
  const { status, headers } = answer;
  if (status !== 200 && !(status === 206 && isRange)) return false;
  if (headers.has("set-cookie") || /private|no-store/i.test(headers.get("cache-control") ?? "")) return false;
  return TYPES[kind].test(typeOf(answer));
}

function typeOf({ headers }: Response): string {
  return (headers.get("content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
}

/** Whose pages may be open, newest first, without one. What was never promoted has none. */
export function othersAlive(app: AppDocument, one: Deployment): Deployment[] {
  return Object.values(app.deployments)
    .filter((each) => each !== one && isRoutable(each) && !isTooOld(app, each))
    .filter(({ id, state }) => state !== "ready" || id === app.canary?.id)
    .sort((one, other) => other.sequence - one.sequence);
}

/** How many requests more 404s may cost an app, in one isolate: a page may miss many files at once. */
const BURST = 256;
const PER_SECOND = 16;
/** More than the newest is asked only while this many are left, so that each of a flood costs one at most. */
const RESERVE = BURST / 2;
const APPS_LIMIT = 2_000;
/** A visitor waits for a 404 no longer than this. */
const WAIT_MS = 5_000;
/** Each page of a site without a favicon.ico asks for one. */
const ABSENT_MS = 60_000;
const ABSENT_LIMIT = 5_000;
const ABSENT_LENGTH_LIMIT = 256;

/** Which file was missing, as what, and who could have it. */
export interface MissingFile {
  app: string;
  /** With its query. */
  path: string;
  kind: AssetKind;
  isRange: boolean;
  others: readonly Deployment[];
}

type Ask = (deployment: Deployment, signal: AbortSignal) => Promise<Response>;

/** Asks other deployments of an app for a file that one doesn't have. */
export class AssetFallback {
  readonly #budgets = new Map<string, ReadBudget>();
  /** Files that no other deployment has, and until when that is believed. */
  readonly #absent = new Map<string, number>();

  /** The first fitting answer of the others, else `missing`. */
  async find(missing: Response, file: MissingFile, ask: Ask): Promise<Response> {
    const key = [file.app, file.kind, file.path, ...file.others.map(({ id }) => id)].join("\n");
    if ((this.#absent.get(key) ?? 0) > Date.now()) return missing;
    let isFirst = true;
    let isSure = true;
    for (const deployment of file.others) {
      if (!this.#budget(file.app).take(Date.now(), isFirst ? 0 : RESERVE)) return missing;
      isFirst = false;
      const answer = await answerWithin(deployment, ask);
      if (answer === null) {
        isSure = false;
        continue;
      }
      if (fits(answer, file.kind, file.isRange)) {
        await missing.body?.cancel();
        return answer;
      }
      await answer.body?.cancel();
    }
    if (isSure) this.#remember(key);
    return missing;
  }

  #remember(key: string): void {
    if (key.length > ABSENT_LENGTH_LIMIT) return;
    if (this.#absent.size >= ABSENT_LIMIT) this.#absent.clear();
    this.#absent.set(key, Date.now() + ABSENT_MS);
  }

  #budget(app: string): ReadBudget {
    const known = this.#budgets.get(app);
    if (known) return known;
    if (this.#budgets.size >= APPS_LIMIT) this.#budgets.clear();
    const budget = new ReadBudget(BURST, PER_SECOND);
    this.#budgets.set(app, budget);
    return budget;
  }
}

/** Null where there is none in time. */
async function answerWithin(deployment: Deployment, ask: Ask): Promise<Response | null> {
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), WAIT_MS);
  try {
    return await ask(deployment, patience.signal);
  } catch {
    return null; // then the 404 is the answer
  } finally {
    clearTimeout(timer);
  }
}
