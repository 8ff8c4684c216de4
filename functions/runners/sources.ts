import { z } from "zod";
import { jsonOf, textWithin } from "../answer-body.ts";
import { Problem } from "../errors.ts";
import { CONTRACT_ANSWER_LIMIT_BYTES } from "../protocol/limits.ts";
import { RUNNER_SERVICE } from "../protocol/runner-api.ts";
import { callRunner, hubProblem, runnerRefusal } from "./call-runner.ts";
import { fetchHub, type HubBinding } from "./reach-hub.ts";
import { SHA256_HEADER } from "./open-head.ts";
import { sourceArchive } from "./source-archive.ts";

const stored = z.object({
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  bytes: z.number().int().nonnegative(),
});

/** Streams a source archive to a runner; answers what the runner made of it. It refuses one that has another hash. */
export async function putSources(
  env: HubBinding,
  runnerId: string,
  request: Request,
  sha256: string | null,
): Promise<z.infer<typeof stored>> {
  const archive = sourceArchive(request);
  const headers = new Headers({ "content-type": "application/gzip" });
  if (archive.length !== null) headers.set("content-length", String(archive.length));
  if (sha256 !== null) headers.set(SHA256_HEADER, sha256);
  const call = { kind: "tunnel", runnerId, service: RUNNER_SERVICE, path: "/sources" } as const;
  const answer = await fetchHub(env, call, { method: "PUT", headers, body: archive.body });
  archive.check();
  return sourcesOf(answer);
}

/** What the runner has under a hash; null when there is nothing. */
export async function findSource(
  env: HubBinding,
  runnerId: string,
  sha256: string,
): Promise<z.infer<typeof stored> | null> {
  const answer = await callRunner(env, runnerId, "HEAD", `/sources/${sha256}`);
  if (answer.kind === "unreachable") throw answer.problem;
  if (answer.status === 404) return null;
  const bytes = Number(answer.headers.get("x-signalbox-bytes") ?? Number.NaN);
  const found = stored.safeParse({ sha256, bytes }).data;
  if (answer.status === 200 && found) return found;
  throw new Problem("runner_failed", `Runner ${runnerId} answered ${answer.status} about source ${sha256}.`);
}

/** What the runner refuses for what it is, and the part of the request that is wrong. */
const REFUSED_FIELDS: Record<string, string> = {
  hash_mismatch: "header.x-signalbox-sha256",
  invalid_archive: "body",
};

async function sourcesOf(answer: Response): Promise<z.infer<typeof stored>> {
  const text = await textWithin(answer, CONTRACT_ANSWER_LIMIT_BYTES).catch(() => "");
  const said = jsonOf(text);
  const result = stored.safeParse(said);
  if (answer.ok && result.success) return result.data;
  const problem = hubProblem.safeParse(said);
  if (problem.success) throw new Problem(problem.data.code, problem.data.detail);
  const { code = "", detail } = runnerRefusal.safeParse(said).data ?? { detail: "It gave no reason." };
  const field = REFUSED_FIELDS[code];
  if (field !== undefined)
    throw new Problem("source_refused", detail, { errors: [{ field, message: detail }] });
  throw new Problem("runner_failed", `The runner answered ${answer.status} to the sources. ${detail}`);
}
