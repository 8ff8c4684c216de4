FROM node:26-trixie-slim AS build
WORKDIR /signalbox
COPY package.json package-lock.json ./
COPY sdk/package.json sdk/
# The scripts of an installation bring Node and build the rest: Node is here, and the rest isn't needed.
RUN npm ci --ignore-scripts
COPY . .
RUN node -e 'import("./scripts/build/runner.ts").then(({ bundleRunner }) => bundleRunner())'

# Projects are built with what the image has: Node, npm, git.
FROM node:26-trixie-slim
# Development servers leave grandchildren behind; tini, as process 1, reaps them. Bubblewrap and passt make the sandboxes
# of guests where the host allows it: docs/operations.md says how. Elsewhere the runner, which is root for that, gives
# each guest a system user of its own.
RUN apt-get update && apt-get install --yes --no-install-recommends bubblewrap ca-certificates git passt tini \
  && rm -rf /var/lib/apt/lists/*
COPY --from=build /signalbox/dist/runner.mjs /signalbox/runner.mjs
# Mount a volume at the workspace; Railway refuses images that declare one. Railway's PORT says where it checks health.
ENV NODE_ENV=production WORKSPACE_ROOT=/data/workspace RUNNER_GUEST_USERS=40000-49999
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.HEALTH_PORT ?? 8080}/health`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
STOPSIGNAL SIGTERM
# tini hands SIGTERM on, so the runner shuts down in order.
ENTRYPOINT ["tini", "--", "node", "--max-semi-space-size=1", "--no-concurrent-array-buffer-sweeping", "--initial-old-space-size=64", "/signalbox/runner.mjs"]
CMD ["runner"]
