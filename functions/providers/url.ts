import type { Target } from "../apps/app-document.ts";
import { Problem } from "../errors.ts";
import { isPrivateHost } from "./private-hosts.ts";
import type { Provider, Provisioned, StepOutcome } from "./provider.ts";

/** A backend that somebody else runs: there is nothing to make and nothing to delete. */
export function urlProvider(settings: { allowPrivateTargets: boolean }): Provider {
  return {
    place(target, app) {
      if (target.kind === "url") checkUrl(target.url, app.config.hosts, settings.allowPrivateTargets);
      return Promise.resolve(target);
    },
    provision: (deployment) => provisioned(deployment.target),
    redeploy: (deployment) => provisioned(deployment.target),
    remove: () => Promise.resolve({ status: "done", value: null }),
    givenUp: () => Promise.resolve(null),
    openStreams: () => Promise.resolve(null),
    logs: ({ id }) =>
      Promise.reject(
        new Problem("no_logs", `Deployment ${id} is a URL: whoever runs what is behind it has its logs.`),
      ),
  };
}

function provisioned(target: Target): Promise<StepOutcome<Provisioned>> {
  return Promise.resolve(
    target.kind === "url"
      ? { status: "done", value: { url: new URL(target.url).origin, resources: {} } }
      : { status: "failed", reason: "The deployment has no URL." },
  );
}

function checkUrl(text: string, hosts: readonly string[], allowPrivate: boolean): void {
  if (!URL.canParse(text))
    throw refused("is not a URL; give scheme and host, like https://backend.example.com");
  const url = new URL(text);
  if (url.protocol !== "https:" && url.protocol !== "http:")
    throw refused("must start with http:// or https://");
  if (url.username !== "" || url.password !== "") throw refused("must not carry credentials");
  if (url.pathname !== "/" || url.search !== "" || url.hash !== "") {
    throw refused("must end after host and port: paths and queries come from each request");
  }
  if (hosts.includes(url.hostname))
    throw refused("is one of the app's own hosts, so requests would go in circles");
  if (!allowPrivate && isPrivateHost(url.hostname)) {
    throw refused("is a loopback, link-local or private address; set ALLOW_PRIVATE_TARGETS=1 to allow those");
  }
}

function refused(message: string): Problem {
  return new Problem("target_refused", `target.url ${message}.`, {
    errors: [{ field: "target.url", message }],
  });
}
