/** A problem that the control API answered with. */
export class ControlProblem extends Error {
  override name = "ControlProblem";
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, detail: string) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

export interface DeploymentView {
  id: string;
  state: "pending" | "ready" | "active" | "draining" | "failed" | "removed";
  failure: { code: string; reason: string } | null;
}

/** A small client of the control API, for the local stack and the demo. */
export class ControlClient {
  readonly #base: string;
  readonly #token: string;

  constructor(origin: string, token: string) {
    this.#base = `${origin}/_signalbox/api/v1`;
    this.#token = token;
  }

  /** Answers parsed JSON; throws {@link ControlProblem} for anything but success. */
  call(method: string, path: string, body?: unknown): Promise<unknown> {
    return body === undefined
      ? this.#send(method, path, {})
      : this.#send(method, path, { "content-type": "application/json" }, JSON.stringify(body));
  }

  /** Sends bytes as they are. */
  put(path: string, body: Uint8Array<ArrayBuffer>, contentType: string): Promise<unknown> {
    return this.#send("PUT", path, { "content-type": contentType }, body);
  }

  async deployment(app: string, id: string): Promise<DeploymentView | null> {
    try {
      return asDeployment(await this.call("GET", `/apps/${app}/deployments/${id}`));
    } catch (error) {
      if (error instanceof ControlProblem && error.code === "unknown_deployment") return null;
      throw error;
    }
  }

  /** Waits until a deployment is in one of the states; throws when it fails or takes too long. */
  async until(
    app: string,
    id: string,
    states: DeploymentView["state"][],
    timeoutMs: number,
  ): Promise<DeploymentView> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const deployment = await this.deployment(app, id);
      if (deployment && states.includes(deployment.state)) return deployment;
      if (deployment?.state === "failed")
        throw new Error(`Deployment ${id} failed: ${deployment.failure?.reason ?? ""}`);
      if (Date.now() > deadline)
        throw new Error(`Deployment ${id} is still ${deployment?.state ?? "unknown"}.`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  async #send(
    method: string,
    path: string,
    headers: Record<string, string>,
    body?: string | Uint8Array<ArrayBuffer>,
  ): Promise<unknown> {
    const response = await fetch(this.#base + path, {
      method,
      headers: { authorization: `Bearer ${this.#token}`, ...headers },
      ...(body === undefined ? {} : { body }),
    });
    const text = await response.text();
    const parsed: unknown = text === "" ? null : JSON.parse(text);
    if (response.ok) return parsed;
    throw new ControlProblem(response.status, field(parsed, "code"), field(parsed, "detail"));
  }
}

function asDeployment(value: unknown): DeploymentView {
  const failure = value !== null && typeof value === "object" && "failure" in value ? value.failure : null;
  const state = field(value, "state");
  switch (state) {
    case "pending":
    case "ready":
    case "active":
    case "draining":
    case "failed":
    case "removed":
      return {
        id: field(value, "id"),
        state,
        failure: failure === null ? null : { code: field(failure, "code"), reason: field(failure, "reason") },
      };
    default:
      throw new Error(`The control API named a state that this client doesn't know: ${state}`);
  }
}

function field(value: unknown, name: string): string {
  return value !== null && typeof value === "object" && name in value ? String(Reflect.get(value, name)) : "";
}
