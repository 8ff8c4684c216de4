import { z } from "zod";
import { jsonOf, textWithin } from "../answer-body.ts";
import type { RailwayClient } from "./client.ts";
import { RailwayError } from "./error.ts";

const answerBody = z.object({
  deploymentId: z.string().min(1),
  url: z.string().optional(),
  logsUrl: z.string().optional(),
  deploymentDomain: z.string().optional(),
});
export type Upload = z.infer<typeof answerBody>;

const refusal = z.object({ message: z.string() });

const ANSWER_LIMIT_BYTES = 64 * 1024;

/**
 * Streams a gzipped tar to Railway, which unpacks, builds and starts it as the service's next deployment. It is never
 * repeated: if the answer is lost, read the service's latest deployment. Throws {@link RailwayError}.
 */
export async function uploadSource(
  client: RailwayClient,
  place: { project: string; environment: string; service: string },
  source: ReadableStream<Uint8Array>,
  options: { contentLength?: number | null; signal?: AbortSignal } = {},
): Promise<Upload> {
  const { project, environment, service } = place;
  const at = `project/${encodeURIComponent(project)}/environment/${encodeURIComponent(environment)}/up`;
  const url = `${client.apiUrl}/${at}?serviceId=${encodeURIComponent(service)}`;
  const headers: Record<string, string> = { ...client.headers(), "content-type": "application/gzip" };
  if (options.contentLength != null) headers["content-length"] = String(options.contentLength);
  const init = {
    method: "POST",
    redirect: "manual",
    headers,
    body: source,
    // Node wants to be told that the request is still being written when the answer comes; workerd doesn't mind.
    duplex: "half",
    ...(options.signal ? { signal: options.signal } : {}),
  } as const;
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, init);
    text = await textWithin(response, ANSWER_LIMIT_BYTES);
  } catch {
    throw failure("unreachable", "was broken off before it was answered", true);
  }
  const said = jsonOf(text);
  if (response.ok) {
    const answer = answerBody.safeParse(said);
    if (answer.success) return answer.data;
    throw failure("malformed", "was answered without a deploymentId", true);
  }
  const why = refusal.safeParse(said).data?.message.slice(0, 500) ?? `status ${response.status}`;
  if (response.status === 401 || response.status === 403) {
    throw failure("unauthorized", `was refused: ${why}. Check the Railway token`, false);
  }
  if (response.status === 429) throw failure("rate_limited", "was refused for now: too many calls", false);
  if (response.status >= 500) throw failure("server", `was answered with status ${response.status}`, true);
  throw failure("refused", `was refused: ${why}`, false);
}

function failure(kind: RailwayError["kind"], what: string, uncertain: boolean): RailwayError {
  return new RailwayError(kind, "up", `Railway's upload of the source ${what}.`, { uncertain });
}
