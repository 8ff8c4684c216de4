import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ReceiveCredit, SendCredit } from "../../functions/protocol/flow.ts";
import { ProtocolError } from "../../functions/protocol/frames.ts";

const WINDOW = 1_000;

/** What happens between the two ends, in any order that a network allows. */
const steps = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant("send" as const), bytes: fc.integer({ min: 0, max: 1_500 }) }),
    fc.record({ kind: fc.constant("consume" as const), bytes: fc.integer({ min: 0, max: 1_500 }) }),
    fc.record({ kind: fc.constant("deliver-grant" as const), bytes: fc.constant(0) }),
  ),
  { maxLength: 200 },
);

describe("credit", () => {
  test("is never overdrawn, never lost and never made from nothing, in any order of events", () => {
    fc.assert(
      fc.property(steps, (happening) => {
        const sender = new SendCredit(WINDOW);
        const receiver = new ReceiveCredit(WINDOW);
        let buffered = 0;
        const grants: number[] = [];
        for (const { kind, bytes } of happening) {
          if (kind === "send") {
            const granted = sender.take(bytes);
            expect(granted).toBeLessThanOrEqual(bytes);
            receiver.receive(granted); // throws if the sender had no right to it
            buffered += granted;
          } else if (kind === "consume") {
            const taken = Math.min(bytes, buffered);
            buffered -= taken;
            const grant = receiver.consume(taken);
            if (grant > 0) grants.push(grant);
          } else {
            const grant = grants.shift();
            if (grant !== undefined) sender.grant(grant);
          }
          const underWay = grants.reduce((sum, grant) => sum + grant, 0);
          expect(sender.bytes + buffered + receiver.ungrantedBytes + underWay).toBe(WINDOW);
          expect(receiver.ungrantedBytes).toBeLessThan(WINDOW / 2);
        }
      }),
    );
  });

  test("never runs dry for good: once all is consumed and granted, more than half a window is there", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: WINDOW }), { maxLength: 100 }), (messages) => {
        const sender = new SendCredit(WINDOW);
        const receiver = new ReceiveCredit(WINDOW);
        for (const bytes of messages) {
          const granted = sender.take(bytes);
          receiver.receive(granted);
          const grant = receiver.consume(granted);
          if (grant > 0) sender.grant(grant);
          expect(sender.bytes).toBeGreaterThan(WINDOW / 2);
        }
      }),
    );
  });

  test("goes on after hibernation where it was", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: WINDOW }), { maxLength: 50 }), (messages) => {
        let sender = new SendCredit(WINDOW);
        let receiver = new ReceiveCredit(WINDOW);
        for (const bytes of messages) {
          const granted = sender.take(bytes);
          receiver.receive(granted);
          const grant = receiver.consume(granted);
          if (grant > 0) sender.grant(grant);
          sender = new SendCredit(sender.bytes);
          receiver = new ReceiveCredit(WINDOW, receiver.ungrantedBytes);
        }
        expect(sender.bytes + receiver.ungrantedBytes).toBe(WINDOW);
      }),
    );
  });

  test("that wasn't given can't be used", () => {
    const receiver = new ReceiveCredit(10);
    receiver.receive(10);
    expect(() => receiver.receive(1)).toThrow(ProtocolError);
  });

  test("beyond reason is refused", () => {
    const sender = new SendCredit(0);
    sender.grant(2 ** 31);
    expect(() => sender.grant(1)).toThrow(ProtocolError);
  });
});
