import type { RailwaySettings } from "../../config.ts";
import { CallBudget } from "../../railway/budget.ts";
import { RailwayClient } from "../../railway/client.ts";
import { projectToken } from "../../railway/operations.ts";

/** Where all deployments are: one project and one environment of it. */
export interface RailwayPlace {
  project: string;
  environment: string;
}

/** Of each token in this isolate: what it has spent, and the place that it names. */
const budgets = new Map<string, CallBudget>();
const places = new Map<string, RailwayPlace>();

/** The Railway project that the Worker is set up for. */
export class RailwayAccess {
  readonly client: RailwayClient;
  readonly envService: string;
  readonly #settings: RailwaySettings;
  readonly #key: string;

  constructor(settings: RailwaySettings) {
    const { token, apiUrl, callsPerMinute, envService } = settings;
    this.#settings = settings;
    this.#key = `${apiUrl} ${token.kind} ${token.value}`;
    let budget = budgets.get(this.#key);
    if (!budget) budgets.set(this.#key, (budget = new CallBudget(callsPerMinute)));
    this.client = new RailwayClient({ token, apiUrl, budget });
    this.envService = envService;
  }

  /** As it is set, else as the project token names it. */
  async place(signal?: AbortSignal): Promise<RailwayPlace> {
    const known = this.#settings.place ?? places.get(this.#key);
    if (known) return known;
    const { projectToken: found } = await this.client.call(projectToken, {}, signal ? { signal } : {});
    const place = { project: found.projectId, environment: found.environmentId };
    places.set(this.#key, place);
    return place;
  }

  /** Origin of a service's domain, which Railway gives without a scheme: https, but for an API on this machine. */
  originOf(domain: string): string {
    const { protocol, hostname } = new URL(this.#settings.apiUrl);
    const isLoopback = /^(?:127(?:\.\d+){3}|\[::1\]|(?:.*\.)?localhost)$/.test(hostname);
    return `${protocol === "http:" && isLoopback ? "http" : "https"}://${domain}`;
  }
}
