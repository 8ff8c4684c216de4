import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";

/** What a sink was sent. */
export interface Sent {
  path: string;
  headers: IncomingMessage["headers"];
  text: string;
}

/** A server that keeps what it is sent: a collector of traces, or Sentry. */
export interface Sink {
  port: number;
  url: string;
  sent: Sent[];
  /** What it answers with. */
  status: number;
  /** Answers nothing at all while true. */
  isSilent: boolean;
  close(): Promise<void>;
}

export async function startSink(): Promise<Sink> {
  const server = createServer((request, response) => {
    let text = "";
    request.setEncoding("utf8").on("data", (part: string) => (text += part));
    request.on("end", () => {
      sink.sent.push({ path: request.url ?? "", headers: request.headers, text });
      if (!sink.isSilent) response.writeHead(sink.status).end("{}");
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const sink: Sink = {
    port,
    url: `http://127.0.0.1:${port}`,
    sent: [],
    status: 200,
    isSilent: false,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return sink;
}

export interface SinkSpan {
  service: string;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: Record<string, string>;
  status: { code?: number };
}

interface Attribute {
  key: string;
  value: { stringValue?: string; intValue?: string };
}

/** Every span that a sink was sent. */
export function spansOf(sink: Sink): SinkSpan[] {
  return sink.sent.flatMap(({ text }) => {
    const { resourceSpans } = JSON.parse(text) as {
      resourceSpans: {
        resource: { attributes: Attribute[] };
        scopeSpans: { spans: (Omit<SinkSpan, "attributes"> & { attributes: Attribute[] })[] }[];
      }[];
    };
    return resourceSpans.flatMap(({ resource, scopeSpans }) =>
      scopeSpans.flatMap(({ spans }) =>
        spans.map((span) => ({
          ...span,
          service: textsOf(resource.attributes)["service.name"] ?? "",
          attributes: textsOf(span.attributes),
        })),
      ),
    );
  });
}

function textsOf(attributes: Attribute[]): Record<string, string> {
  return Object.fromEntries(
    attributes.map(({ key, value }) => [key, value.stringValue ?? value.intValue ?? ""]),
  );
}
