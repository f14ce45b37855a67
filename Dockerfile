# One image for every part of Toolyard; the command names the part: start (all of it), gateway, subgraph NAME, proxy, … docs/docker.md says more.

# Node 24 and a POSIX shell. The stage `npm`, and replicas that are started by npx, need npm in it.
ARG BASE_IMAGE=node:24-slim
# Where npm runs. For builders that reach no registry: an image that has /opt/toolyard/node_modules already, and a shell.
ARG DEPENDENCIES=${BASE_IMAGE}

# Only what npm reads, so that a change of any other file installs nothing anew.
FROM ${BASE_IMAGE} AS manifests
WORKDIR /opt/toolyard
COPY . .
RUN find . -type f ! -name package.json ! -name package-lock.json ! -name .npmrc -exec rm {} +

FROM ${DEPENDENCIES} AS npm
WORKDIR /opt/toolyard
COPY --from=manifests /opt/toolyard ./
# Without scripts the package `node` fetches no Node: the base image has one. Nothing reads maps and types at run time.
RUN if [ ! -d node_modules ]; then \
 npm ci --omit=dev --ignore-scripts --no-audit --no-fund --cache /tmp/npm \
 && find node_modules -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' \) -exec rm {} +; fi

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="Toolyard" \
      org.opencontainers.image.description="A control plane for MCP servers with one live GraphQL graph" \
      org.opencontainers.image.licenses="MIT AND Elastic-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      dev.toolyard.sbom="/opt/toolyard/sbom.cdx.json" \
      dev.toolyard.sbom.format="CycloneDX"
# Sessions of the command line are in /tmp, since a read-only container has no home.
ENV NODE_ENV=production HOST=0.0.0.0 DATA_DIR=/var/lib/toolyard XDG_CONFIG_HOME=/tmp
WORKDIR /opt/toolyard
COPY --from=npm /opt/toolyard/node_modules node_modules
COPY . .
# A new volume takes the owner of the folder that it is mounted at.
RUN node deploy/sbom.mjs > sbom.cdx.json \
 && mkdir -p /var/lib/toolyard /run/toolyard && chown 1000:1000 /var/lib/toolyard /run/toolyard && chmod 700 /var/lib/toolyard /run/toolyard
USER 1000:1000
EXPOSE 4000 4100
HEALTHCHECK --interval=10s --timeout=5s --start-period=180s CMD ["node", "/opt/toolyard/deploy/healthcheck.mjs"]
ENTRYPOINT ["/opt/toolyard/deploy/entrypoint"]
CMD ["start"]
