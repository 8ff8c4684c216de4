FROM node:26-trixie-slim AS build
WORKDIR /signalbox
COPY package.json package-lock.json ./
# The scripts of an installation bring Node and build the command line: here is one, and the other isn't needed.
RUN npm ci --ignore-scripts
COPY . .
RUN node -e 'import("./scripts/build/runner.ts").then(({ bundleRunner }) => bundleRunner())'

# The tools that projects are built with stay in the image: Node, npm, git.
FROM node:26-trixie-slim
# tini: development servers leave grandchildren behind, and a runner that is process 1 itself would have to reap them.
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates git tini \
  && rm -rf /var/lib/apt/lists/*
COPY --from=build /signalbox/dist/runner.mjs /signalbox/runner.mjs
# Mount a volume there. Railway refuses images that declare one, and tells by PORT where it checks health.
ENV NODE_ENV=production WORKSPACE_ROOT=/data/workspace
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.HEALTH_PORT ?? 8080}/health`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
STOPSIGNAL SIGTERM
# tini hands signals on, so that SIGTERM drains.
ENTRYPOINT ["tini", "--", "node", "--max-semi-space-size=1", "--no-concurrent-array-buffer-sweeping", "--initial-old-space-size=64", "/signalbox/runner.mjs"]
CMD ["runner"]
