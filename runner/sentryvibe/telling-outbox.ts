import { Outbox } from "../builds/outbox.ts";
import type { EventLog } from "../builds/event-log.ts";
import type { Teller } from "./teller.ts";

/** Brings the events of builds to the hub, and to those who know SentryVibe's words only. */
export class TellingOutbox extends Outbox {
  readonly #teller: Teller;

  constructor(teller: Teller, ...rest: ConstructorParameters<typeof Outbox>) {
    super(...rest);
    this.#teller = teller;
  }

  override add(buildId: string, log: EventLog): void {
    super.add(buildId, log);
    this.#teller.add(buildId, log);
  }

  override remove(buildId: string): void {
    super.remove(buildId);
    this.#teller.remove(buildId);
  }

  override pump(buildId: string): void {
    super.pump(buildId);
    this.#teller.pump(buildId);
  }

  override close(): void {
    super.close();
    this.#teller.close();
  }
}
