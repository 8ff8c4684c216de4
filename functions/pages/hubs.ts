import { callObject } from "../durable-object-call.ts";
import {
  NOTE_STEP_MS,
  SHARDS_HEADER,
  type DocumentNote,
  type PageCount,
  type PageHub,
  type PageHubBinding,
} from "./hub.ts";

/** A deployment, told from an earlier one of the same id by its time of creation. */
export interface PagesOf {
  app: string;
  deployment: { id: string; createdAt: number };
}

/** How many shards the deployments of this isolate's requests have, as far as it has heard. */
const shardsKnown = new Map<string, number>();
const SHARDS_KNOWN_LIMIT = 1_000;
/** Each try is told of more shards; that many splits at once never happen. */
const TRIES = 4;
/** Objects asked at once; a Worker may wait for six answers' headers at a time. */
const CALLS_AT_ONCE = 6;

/** When a document was last noted from this isolate, by note and hub. */
const noted = new Map<string, number>();
const NOTED_LIMIT = 1_000;

/** Hands a page's socket to the hub that has its page. `reload`: the page is told to reload at once. */
export async function openPage(
  env: PageHubBinding,
  of: PagesOf,
  { page, reload }: { page: string; reload: boolean },
): Promise<Response> {
  const name = nameOf(of);
  const url = `https://hub/?page=${page}${reload ? "&reload=1" : ""}`;
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const shards = shardsKnown.get(name) ?? 1;
    const answer = await call(env, name, shardOf(page, shards), (one) =>
      one.fetch(url, { headers: { upgrade: "websocket" } }),
    );
    if (!answer.headers.has(SHARDS_HEADER)) return answer;
    const now = await call(env, name, 0, (first) => first.split(shards));
    if (shardsKnown.size >= SHARDS_KNOWN_LIMIT) shardsKnown.clear();
    shardsKnown.set(name, now);
  }
  return new Response(null, { status: 503 });
}

/** Sums up all hubs of a deployment. Rejects when one of them can't be asked: then nothing is known. */
export async function countPages(env: PageHubBinding, of: PagesOf): Promise<Omit<PageCount, "shards">> {
  const counts = await ofAll(env, of, (one) => one.count());
  return {
    pages: counts.reduce((sum, { pages }) => sum + pages, 0),
    uncountedAt: Math.max(...counts.map(({ uncountedAt }) => uncountedAt)),
    servedAt: Math.max(...counts.map(({ servedAt }) => servedAt)),
  };
}

/** Asks all pages of a deployment to reload. Returns how many heard it. */
export async function reloadPages(env: PageHubBinding, of: PagesOf): Promise<number> {
  const told = await ofAll(env, of, (one) => one.tellReload());
  return told.reduce((sum, sockets) => sum + sockets, 0);
}

/** Forgets a deployment that is gone. */
export async function endPages(env: PageHubBinding, of: PagesOf): Promise<void> {
  await ofAll(env, of, (one) => one.end());
}

/** Notes that a document went out; see {@link DocumentNote}. */
export async function noteDocument(env: PageHubBinding, of: PagesOf, kind: DocumentNote): Promise<void> {
  const name = nameOf(of);
  const key = `${kind} ${name}`;
  const now = Date.now();
  if (now - (noted.get(key) ?? 0) < NOTE_STEP_MS) return;
  if (noted.size >= NOTED_LIMIT) noted.clear();
  noted.set(key, now);
  try {
    await call(env, name, 0, (first) => first.note(kind));
  } catch (error) {
    noted.delete(key);
    throw error;
  }
}

async function ofAll<Result>(
  env: PageHubBinding,
  of: PagesOf,
  ask: (one: DurableObjectStub<PageHub>) => Promise<Result>,
): Promise<Result[]> {
  const name = nameOf(of);
  const { shards } = await call(env, name, 0, (first) => first.count());
  const results: Result[] = [];
  for (let start = 0; start < shards; start += CALLS_AT_ONCE) {
    const batch = Array.from(
      { length: Math.min(CALLS_AT_ONCE, shards - start) },
      (_, index) => start + index,
    );
    results.push(...(await Promise.all(batch.map((shard) => call(env, name, shard, ask)))));
  }
  return results;
}

function nameOf({ app, deployment }: PagesOf): string {
  return `${app}/${deployment.id}/${deployment.createdAt}`;
}

/** All that is asked of a hub may be asked for twice. */
function call<Result>(
  env: PageHubBinding,
  name: string,
  shard: number,
  send: (one: DurableObjectStub<PageHub>) => Promise<Result>,
): Promise<Result> {
  const id = env.PAGE_HUB.idFromName(shard === 0 ? name : `${name}#${shard}`);
  return callObject({ open: () => env.PAGE_HUB.get(id), send, isRepeatable: true });
}

/** The first hub keeps the pages that it has; those that come after the first split go to the others. */
function shardOf(page: string, shards: number): number {
  return shards === 1 ? 0 : 1 + (Number.parseInt(page.slice(0, 8), 16) % (shards - 1));
}
