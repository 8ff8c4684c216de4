import { SHARDS_HEADER, type PageCount, type PageHub, type PageHubBinding } from "./hub.ts";

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

/** Hands a page's socket to the hub that has its page. */
export async function openPage(env: PageHubBinding, of: PagesOf, request: Request): Promise<Response> {
  const name = nameOf(of);
  const page = new URL(request.url).searchParams.get("page") ?? "";
  let answer: Response | null = null;
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const shards = shardsKnown.get(name) ?? 1;
    answer = await hub(env, name, shardOf(page, shards)).fetch(request);
    if (!answer.headers.has(SHARDS_HEADER)) return answer;
    await answer.body?.cancel();
    const now = await hub(env, name, 0).split(shards);
    if (shardsKnown.size >= SHARDS_KNOWN_LIMIT) shardsKnown.clear();
    shardsKnown.set(name, now);
  }
  return new Response(null, { status: 503, headers: { "retry-after": "5" } });
}

/** Sums up all hubs of a deployment. Rejects when one of them can't be asked: then nothing is known. */
export async function countPages(env: PageHubBinding, of: PagesOf): Promise<Omit<PageCount, "shards">> {
  const counts = await ofAll(env, of, (one) => one.count());
  return {
    pages: counts.reduce((sum, { pages }) => sum + pages, 0),
    uncountedAt: Math.max(...counts.map(({ uncountedAt }) => uncountedAt)),
  };
}

/** Asks all pages of a deployment to reload. Returns how many heard it. */
export async function reloadPages(env: PageHubBinding, of: PagesOf): Promise<number> {
  const told = await ofAll(env, of, (one) => one.tellReload());
  return told.reduce((sum, sockets) => sum + sockets, 0);
}

/** A deployment that was told to reload is in use again. */
export async function keepPages(env: PageHubBinding, of: PagesOf): Promise<void> {
  await ofAll(env, of, (one) => one.keep());
}

/** Forgets a deployment that is gone. */
export async function endPages(env: PageHubBinding, of: PagesOf): Promise<void> {
  await ofAll(env, of, (one) => one.end());
}

/** Notes that a document went out whose page can't be counted. */
export async function noteUncounted(env: PageHubBinding, of: PagesOf): Promise<void> {
  await hub(env, nameOf(of), 0).noteUncounted();
}

async function ofAll<Result>(
  env: PageHubBinding,
  of: PagesOf,
  ask: (one: DurableObjectStub<PageHub>) => Promise<Result>,
): Promise<Result[]> {
  const name = nameOf(of);
  const first = hub(env, name, 0);
  const { shards } = await first.count();
  const results: Result[] = [];
  for (let start = 0; start < shards; start += CALLS_AT_ONCE) {
    const batch = Array.from(
      { length: Math.min(CALLS_AT_ONCE, shards - start) },
      (_, index) => start + index,
    );
    results.push(...(await Promise.all(batch.map((shard) => ask(hub(env, name, shard))))));
  }
  return results;
}

function nameOf({ app, deployment }: PagesOf): string {
  return `${app}/${deployment.id}/${deployment.createdAt}`;
}

function hub(env: PageHubBinding, name: string, shard: number): DurableObjectStub<PageHub> {
  return env.PAGE_HUB.get(env.PAGE_HUB.idFromName(shard === 0 ? name : `${name}#${shard}`));
}

/** The first hub keeps the pages that it has; those that come after the first split go to the others. */
function shardOf(page: string, shards: number): number {
  return shards === 1 ? 0 : 1 + (Number.parseInt(page.slice(0, 8), 16) % (shards - 1));
}
