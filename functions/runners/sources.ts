import { z } from "zod";
import type { Env } from "../config.ts";
import { textWithin } from "../deployments/contract.ts";
import { Problem } from "../errors.ts";
import { CONTRACT_ANSWER_LIMIT_BYTES } from "../protocol/limits.ts";
import { hubProblem, RUNNER_SERVICE, runnerRefusal } from "./call-runner.ts";
import { fetchHub } from "./hub-call.ts";
import { sourceArchive } from "./source-archive.ts";

const stored = z.object({
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  bytes: z.number().int().nonnegative(),
});

/** Streams a source archive to a runner; answers what the runner made of it. */
export async function putSources(
  env: Pick<Env, "RUNNER_HUB">,
  runnerId: string,
  request: Request,
): Promise<z.infer<typeof stored>> {
  const archive = sourceArchive(request);
  const headers = new Headers({ "content-type": "application/gzip" });
  if (archive.length !== null) headers.set("content-length", String(archive.length));
  const call = { kind: "tunnel", runnerId, service: RUNNER_SERVICE, path: "/sources" } as const;
  const answer = await fetchHub(env, call, { method: "PUT", headers, body: archive.body });
  archive.check();
  return sourcesOf(answer);
}

async function sourcesOf(answer: Response): Promise<z.infer<typeof stored>> {
  const text = await textWithin(answer, CONTRACT_ANSWER_LIMIT_BYTES).catch(() => "");
  const said = jsonOf(text);
  const result = stored.safeParse(said);
  if (answer.ok && result.success) return result.data;
  const problem = hubProblem.safeParse(said);
  if (problem.success) throw new Problem(problem.data.code, problem.data.detail);
  const { detail } = runnerRefusal.safeParse(said).data ?? { detail: "It gave no reason." };
  throw new Problem("runner_failed", `The runner answered ${answer.status} to the sources. ${detail}`);
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // judged like any other answer that isn't the expected one
  }
}
