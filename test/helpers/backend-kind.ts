import { deployUrl } from "./deploy.ts";
import { archiveOf } from "./archive.ts";
import { startRunner, type RunnerProcess } from "./runner.ts";
import { deploy, uploadSource } from "./runner-deployments.ts";
import type { TestStack } from "./stack.ts";

/** How tests that have a backend of their own put it behind the edge. */
export interface BackendKind {
  begin(stack: TestStack): Promise<void>;
  /** Deploys a backend by its URL on loopback, and waits until it serves. */
  deploy(stack: TestStack, app: string, id: string, url: string): Promise<void>;
  end(): Promise<void>;
  /** What differs, each for a reason of its own. */
  readonly is: {
    /** workerd's own fetch has URLs as the standard spells them; the tunnel carries them as the client did. */
    verbatim: boolean;
    /** The edge asks once more when a backend hangs up; the runner only where the connection had been kept. */
    askedAgain: boolean;
    /** An end that is known by then overtakes a head that has just arrived, where both come in one message. */
    brokenAtOnce: boolean;
    /** What a client's WebSocket closes with when the backend's breaks; a hub can't break one. */
    brokenCode: number;
  };
}

/** The edge asks it directly. */
export const byUrl: BackendKind = {
  begin: () => Promise.resolve(),
  deploy: (stack, app, id, url) => deployUrl(stack, app, id, url),
  end: () => Promise.resolve(),
  is: { verbatim: false, askedAgain: true, brokenAtOnce: false, brokenCode: 1_006 },
};

/** Bytes and ends of connections as they come, so that what is behind it seems to listen here. */
const RELAY = `import { connect, createServer } from "node:net";
const [port] = process.argv.slice(2);
createServer({ allowHalfOpen: true }, (from) => {
  const to = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  for (const [one, other] of [[from, to], [to, from]]) {
    one.setNoDelay(true).pipe(other);
    one.on("error", () => other.resetAndDestroy());
    one.on("close", () => other.destroySoon());
  }
}).listen(process.env.PORT, "127.0.0.1");
`;

/** A runner hosts a relay to it, so that everything passes through the tunnel. */
export function byRunner(): BackendKind {
  let runner: RunnerProcess | undefined;
  let sha256 = "";
  return {
    async begin(stack) {
      runner = await startRunner(stack, { id: "relays" });
      sha256 = await uploadSource(stack, runner.id, await archiveOf({ "relay.mjs": RELAY }));
    },
    async deploy(stack, app, id, url) {
      await deploy(stack, app, id, {
        sha256,
        runnerId: "relays",
        start: `exec node relay.mjs ${new URL(url).port}`,
      });
      await stack.control.until(app, id, ["active"], 30_000);
    },
    end: async () => runner?.remove(),
    is: { verbatim: true, askedAgain: false, brokenAtOnce: true, brokenCode: 1_011 },
  };
}
