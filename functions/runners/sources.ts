import { jsonOf, textWithin } from "../answer-body.ts";
import { Problem } from "../errors.ts";
import { CONTRACT_ANSWER_LIMIT_BYTES } from "../protocol/limits.ts";
import {
  parseRunnerRefusal,
  parseStoredSource,
  RUNNER_SERVICE,
  runnerPaths,
  SHA256_HEADER,
  SOURCE_BYTES_HEADER,
  type RunnerRefusalCode,
  type StoredSource,
} from "../protocol/runner-api.ts";
import { callRunner, hubProblemOf } from "./call-runner.ts";
import { fetchHub, type HubBinding } from "./reach-hub.ts";
import { sourceArchive } from "./source-archive.ts";

/** Streams a source archive to a runner, which refuses another hash than `sha256`. */
export async function putSources(
  env: HubBinding,
  runnerId: string,
  request: Request,
  sha256: string | null,
): Promise<StoredSource> {
  const archive = sourceArchive(request);
  const headers = new Headers({ "content-type": "application/gzip" });
  if (archive.length !== null) headers.set("content-length", String(archive.length));
  if (sha256 !== null) headers.set(SHA256_HEADER, sha256);
  const call = { kind: "tunnel", runnerId, service: RUNNER_SERVICE, path: runnerPaths.sources } as const;
  const answer = await fetchHub(env, call, { method: "PUT", headers, body: archive.body });
  archive.check();
  return sourcesOf(answer);
}

/** The same for what another runner packs. */
export async function copySource(
  env: HubBinding,
  runnerId: string,
  body: ReadableStream<Uint8Array>,
): Promise<StoredSource> {
  const call = { kind: "tunnel", runnerId, service: RUNNER_SERVICE, path: runnerPaths.sources } as const;
  const headers = new Headers({ "content-type": "application/gzip" });
  return sourcesOf(await fetchHub(env, call, { method: "PUT", headers, body }));
}

/** Null if the runner hasn't this source. */
export async function findSource(
  env: HubBinding,
  runnerId: string,
  sha256: string,
): Promise<StoredSource | null> {
  const answer = await callRunner(env, runnerId, "HEAD", runnerPaths.source(sha256));
  if (answer.kind === "unreachable") throw answer.problem;
  if (answer.status === 404) return null;
  const bytes = Number(answer.headers.get(SOURCE_BYTES_HEADER) ?? Number.NaN);
  const found = parseStoredSource({ sha256, bytes });
  if (answer.status === 200 && found) return found;
  throw new Problem("runner_failed", `Runner ${runnerId} answered ${answer.status} about source ${sha256}.`);
}

/** Refusals of the archive itself, and the field they are about. */
const REFUSED_FIELDS = new Map<string, string>([
  ["hash_mismatch", `header.${SHA256_HEADER}`],
  ["invalid_archive", "body"],
] satisfies [RunnerRefusalCode, string][]);

async function sourcesOf(answer: Response): Promise<StoredSource> {
  const text = await textWithin(answer, CONTRACT_ANSWER_LIMIT_BYTES).catch(() => "");
  const said = jsonOf(text);
  const stored = answer.ok ? parseStoredSource(said) : null;
  if (stored !== null) return stored;
  const problem = hubProblemOf(said);
  if (problem) throw problem;
  const { code, detail } = parseRunnerRefusal(said) ?? { code: "", detail: "It gave no reason." };
  const field = REFUSED_FIELDS.get(code);
  if (field !== undefined)
    throw new Problem("source_refused", detail, { errors: [{ field, message: detail }] });
  throw new Problem("runner_failed", `The runner answered ${answer.status} to the sources. ${detail}`);
}
