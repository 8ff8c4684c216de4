import { Outbox } from "../builds/outbox.ts";
import type { EventLog } from "../builds/event-log.ts";
import type { BuildWatch } from "../observability/build-watch.ts";
import type { Teller } from "./teller.ts";

/** Brings the events of builds to the hub, to those who know SentryVibe's words only, and to whoever counts them. */
export class TellingOutbox extends Outbox {
  readonly #teller: Teller;
  readonly #watch: BuildWatch;

  constructor(teller: Teller, watch: BuildWatch, ...rest: ConstructorParameters<typeof Outbox>) {
    super(...rest);
    this.#teller = teller;
    this.#watch = watch;
  }

  override add(buildId: string, log: EventLog): void {
    super.add(buildId, log);
    this.#teller.add(buildId, log);
    this.#watch.add(buildId, log);
  }

  override remove(buildId: string): void {
    super.remove(buildId);
    this.#teller.remove(buildId);
    this.#watch.remove(buildId);
  }

  override pump(buildId: string): void {
    super.pump(buildId);
    this.#teller.pump(buildId);
    this.#watch.pump(buildId);
  }

  override close(): void {
    super.close();
    this.#teller.close();
  }
}
