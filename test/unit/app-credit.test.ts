import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  AppFlow,
  AppFlows,
  appOf,
  frameBudget,
  ReceiveCredit,
  SendCredit,
} from "../../functions/protocol/flow.ts";
import {
  CONNECTION_WINDOW_BYTES,
  OWED_LIMIT_BYTES,
  STREAM_WINDOW_BYTES,
} from "../../functions/protocol/limits.ts";

/** Takes all that the streams of one app may have, none of which is ever granted again. */
function hang(app: AppFlow, connection: SendCredit, streams: number): void {
  const credits = Array.from({ length: streams }, () => new SendCredit(STREAM_WINDOW_BYTES, app));
  for (let some = true; some;) {
    some = false;
    for (const stream of credits) {
      const granted = stream.take(connection.take(frameBudget(stream, connection)));
      if (granted > 0) some = true;
    }
  }
}

describe("an app's credit", () => {
  test("leaves a quarter of the connection's to others when it takes nothing, and three such apps leave something", () => {
    const connection = new SendCredit(CONNECTION_WINDOW_BYTES);
    const flows = new AppFlows();
    hang(flows.of("first"), connection, 1_000);
    expect(connection.bytes).toBeGreaterThan(CONNECTION_WINDOW_BYTES / 4 - 128 * 1024);
    for (let n = 0; n < 2; n += 1) hang(flows.of(`app-${n}`), connection, 1_000);
    expect(connection.bytes).toBeGreaterThan(64 * 1024);
    expect(frameBudget(new SendCredit(STREAM_WINDOW_BYTES, flows.of("calm")), connection)).toBe(64 * 1024);
  });

  test("is back when its streams have ended or everything was granted, in any order", () => {
    const steps = fc.array(
      fc.record({
        kind: fc.constantFrom("send" as const, "consume" as const, "end" as const),
        stream: fc.nat(4),
        bytes: fc.integer({ min: 0, max: 200_000 }),
      }),
      { maxLength: 200 },
    );
    fc.assert(
      fc.property(steps, (happening) => {
        const app = new AppFlow();
        const streams = Array.from({ length: 5 }, () => ({
          send: new SendCredit(STREAM_WINDOW_BYTES, app),
          receive: new ReceiveCredit(STREAM_WINDOW_BYTES),
          over: false,
        }));
        for (const { kind, stream, bytes } of happening) {
          const one = streams[stream];
          if (one === undefined || one.over) continue;
          if (kind === "send") one.receive.receive(one.send.take(bytes));
          else if (kind === "consume") {
            const grant = one.receive.consume(Math.min(bytes, one.receive.heldBytes));
            if (grant > 0) one.send.grant(grant);
          } else {
            one.send.end();
            one.over = true;
          }
          const underWay = streams
            .filter(({ over }) => !over)
            .reduce((sum, { receive }) => sum + receive.heldBytes + receive.ungrantedBytes, 0);
          expect(app.bytesUnderWay).toBe(underWay);
        }
        for (const { send, receive, over } of streams) {
          if (over) continue;
          const grant = receive.consume(receive.heldBytes) + receive.flush();
          if (grant > 0) send.grant(grant);
        }
        expect(app.bytesUnderWay).toBe(0);
      }),
    );
  });

  test("is told of what many streams keep to themselves", () => {
    const app = new AppFlow();
    const told = new Map<number, number>();
    const streams = Array.from({ length: 300 }, (_, n) => ({
      tell: (bytes: number) => told.set(n, (told.get(n) ?? 0) + bytes),
    }));
    for (const stream of streams) app.owe(stream, 1_000);
    const bytes = [...told.values()].reduce((sum, one) => sum + one, 0);
    expect(bytes).toBeGreaterThanOrEqual(OWED_LIMIT_BYTES);
    expect(300_000 - bytes).toBeLessThan(OWED_LIMIT_BYTES);
  });
});

test("the versions of an app share what it has, and a service without one is its own", () => {
  expect(["shop/v1", "shop/v2", "project-7", "@runner"].map(appOf)).toEqual([
    "shop",
    "shop",
    "project-7",
    "@runner",
  ]);
});
