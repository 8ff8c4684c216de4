import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** One call that a scripted GraphQL server received. */
export interface ScriptedCall {
  name: string;
  variables: Record<string, unknown>;
  headers: IncomingHttpHeaders;
}

/** What a script does with a call: data, or whatever it writes itself. */
export type Script = (call: ScriptedCall, response: ServerResponse) => unknown;

/** Returned by a script that has answered, or that never will. */
export const HANDLED = Symbol("handled");

export interface ScriptedServer {
  url: string;
  calls: ScriptedCall[];
  script: Script;
  stop(): Promise<void>;
}

/** Railway's endpoint on a real socket, answering what a test says. */
export async function startGraphqlServer(script: Script): Promise<ScriptedServer> {
  const server = createServer((request, response) => {
    void (async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) if (Buffer.isBuffer(chunk)) chunks.push(chunk);
      const body: { operationName: string; variables: Record<string, unknown> } = JSON.parse(
        Buffer.concat(chunks).toString(),
      );
      const call = { name: body.operationName, variables: body.variables, headers: request.headers };
      scripted.calls.push(call);
      const data = await scripted.script(call, response);
      if (data === HANDLED) return;
      response.writeHead(200, { "content-type": "application/json" });
      response.end(
        JSON.stringify(data instanceof Error ? { errors: [{ message: data.message }] } : { data }),
      );
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // eslint-disable-next-line typescript/no-unsafe-type-assertion -- a TCP server's address is one
  const { port } = server.address() as AddressInfo;
  const scripted: ScriptedServer = {
    url: `http://127.0.0.1:${port}`,
    calls: [],
    script,
    stop: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
  return scripted;
}
