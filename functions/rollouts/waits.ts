import type { Deployment } from "../apps/app-document.ts";

interface Wait {
  seen: string;
  until: number;
  /** How often a step of this very state has been tried and put off. */
  attempts: number;
}

/**
 * Which steps wait for their next try. A wait holds for a deployment as it was seen: any change of it ends the wait.
 * Waits are lost with the process, and their steps are then tried at once.
 */
export class Waits {
  readonly #waits = new Map<string, Wait>();

  /** Epoch milliseconds; 0 without a wait. */
  until(deployment: Deployment): number {
    return this.#of(deployment)?.until ?? 0;
  }

  putOff(deployment: Deployment, until: number): void {
    const attempts = (this.#of(deployment)?.attempts ?? 0) + 1;
    this.#waits.set(deployment.id, { seen: JSON.stringify(deployment), until, attempts });
  }

  /** Puts a step off for longer each time, from `firstMs` doubling to `limitMs`. */
  backOff(deployment: Deployment, now: number, firstMs: number, limitMs: number): void {
    const attempts = this.#of(deployment)?.attempts ?? 0;
    this.putOff(deployment, now + Math.min(limitMs, firstMs * 2 ** attempts));
  }

  /** The step may be tried now. */
  end(id: string): void {
    this.#waits.delete(id);
  }

  /** Forgets all but these. */
  keep(deployments: Record<string, Deployment>): void {
    for (const id of this.#waits.keys()) if (!Object.hasOwn(deployments, id)) this.#waits.delete(id);
  }

  #of(deployment: Deployment): Wait | undefined {
    const wait = this.#waits.get(deployment.id);
    return wait?.seen === JSON.stringify(deployment) ? wait : undefined;
  }
}
