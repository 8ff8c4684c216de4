import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A call of a tool that the model wants, or what it says. */
export type Act = { tool: string[]; input: Record<string, unknown> } | { text: string };

export interface VendorRequest {
  path: string;
  /** What it was let in with. */
  key: string;
  model: string;
}

export interface VendorStandIn {
  url: string;
  requests: VendorRequest[];
  close(): Promise<void>;
}

/** What one model request costs here. */
export const INPUT_TOKENS = 1_000;
export const OUTPUT_TOKENS = 50;

/**
 * Stands in for Anthropic's Messages API, streaming: of a conversation with tools it plays the acts in order, one for each
 * request, by how many results of tools it was given. What has no such tool gets a text.
 */
export async function startAnthropic(acts: readonly Act[]): Promise<VendorStandIn> {
  return serve(async (request, response, body) => {
    if (!request.url?.startsWith("/v1/messages")) return notFound(response);
    if (request.url.includes("count_tokens")) return json(response, { input_tokens: INPUT_TOKENS });
    const names = list(body["tools"]).map(({ name }) => String(name));
    const done = list(body["messages"]).flatMap(({ content }) =>
      list(content).filter(({ type }) => type === "tool_result"),
    ).length;
    const act = names.length === 0 ? { text: "A title" } : (acts[done] ?? { text: "Nothing more to do." });
    const id = `msg_${Math.random().toString(36).slice(2)}`;
    const tool = "tool" in act ? act.tool.find((name) => names.includes(name)) : undefined;
    const block =
      "tool" in act && tool !== undefined
        ? { type: "tool_use", id: `toolu_${done + 1}`, name: tool, input: {} }
        : { type: "text", text: "" };
    const delta =
      "tool" in act
        ? tool === undefined
          ? {
              type: "text_delta",
              text: `There is no tool ${act.tool.join(" or ")} among ${names.join(", ")}.`,
            }
          : { type: "input_json_delta", partial_json: JSON.stringify(act.input) }
        : { type: "text_delta", text: act.text };
    const usage = { input_tokens: INPUT_TOKENS, output_tokens: 1 };
    const message = { id, type: "message", role: "assistant", model: body["model"], content: [] };
    if (body["stream"] !== true) {
      const content =
        "tool" in act && tool !== undefined
          ? { ...block, input: act.input }
          : { type: "text", text: "text" in act ? act.text : "" };
      return json(response, {
        ...message,
        content: [content],
        stop_reason: "end_turn",
        stop_sequence: null,
        usage,
      });
    }
    response.writeHead(200, { "content-type": "text/event-stream" });
    const send = (type: string, fields: object): void =>
      void response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`);
    send("message_start", { message: { ...message, stop_reason: null, stop_sequence: null, usage } });
    send("content_block_start", { index: 0, content_block: block });
    send("content_block_delta", { index: 0, delta });
    send("content_block_stop", { index: 0 });
    send("message_delta", {
      delta: { stop_reason: block.type === "tool_use" ? "tool_use" : "end_turn", stop_sequence: null },
      usage: { output_tokens: OUTPUT_TOKENS },
    });
    send("message_stop", {});
    response.end();
  });
}

/** The same for Google's Gemini API: of its models' routes, the two that generate. */
export async function startGemini(acts: readonly Act[]): Promise<VendorStandIn> {
  return serve(async (request, response, body) => {
    const { url = "" } = request;
    if (url.includes(":countTokens")) return json(response, { totalTokens: INPUT_TOKENS });
    if (!url.includes("enerateContent")) return notFound(response);
    const names = list(body["tools"]).flatMap(({ functionDeclarations }) =>
      list(functionDeclarations).map(({ name }) => String(name)),
    );
    const done = list(body["contents"]).flatMap(({ parts }) =>
      list(parts).filter((part) => "functionResponse" in part),
    ).length;
    // Without tools it asks which model the prompt is for.
    const score = JSON.stringify({ complexity_reasoning: "A page", complexity_score: 50 });
    const act = names.length === 0 ? { text: score } : (acts[done] ?? { text: "Nothing more to do." });
    const tool = "tool" in act ? act.tool.find((name) => names.includes(name)) : undefined;
    const missing = `There is no such tool among ${names.join(", ")}.`;
    const part =
      "text" in act
        ? { text: act.text }
        : tool === undefined
          ? { text: missing }
          : { functionCall: { name: tool, args: act.input } };
    const answer = {
      candidates: [{ content: { role: "model", parts: [part] }, finishReason: "STOP", index: 0 }],
      usageMetadata: {
        promptTokenCount: INPUT_TOKENS,
        candidatesTokenCount: OUTPUT_TOKENS,
        totalTokenCount: INPUT_TOKENS + OUTPUT_TOKENS,
      },
    };
    if (!url.includes("alt=sse")) return json(response, answer);
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(`data: ${JSON.stringify(answer)}\r\n\r\n`);
  });
}

async function serve(
  answer: (
    request: IncomingMessage,
    response: ServerResponse,
    body: Record<string, unknown>,
  ) => Promise<void>,
): Promise<VendorStandIn> {
  const requests: VendorRequest[] = [];
  const server = createServer((request, response) => {
    void (async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const text = Buffer.concat(chunks).toString();
      const body = (text === "" ? {} : JSON.parse(text)) as Record<string, unknown>;
      const { headers, url = "" } = request;
      const key = String(headers["x-api-key"] ?? headers["x-goog-api-key"] ?? headers.authorization ?? "");
      requests.push({ path: url, key, model: String(body["model"]) });
      await answer(request, response, body);
    })().catch((error: unknown) => response.writeHead(500).end(String(error)));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function list(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? (value as Record<string, unknown>[]) : [];
}

function json(response: ServerResponse, value: object): Promise<void> {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(value));
  return Promise.resolve();
}

function notFound(response: ServerResponse): Promise<void> {
  response.writeHead(404, { "content-type": "application/json" }).end("{}");
  return Promise.resolve();
}
