# In which launches that are commands run (MCP_RUNNER_IMAGE): Toolyard's image, which has Node, npx and the bridge, with uvx and a Python, and with packages of
# templates. scripts/build-images.sh builds it.
ARG TOOLYARD_IMAGE=toolyard
ARG UV_IMAGE=ghcr.io/astral-sh/uv:0.13

FROM ${UV_IMAGE} AS uv

FROM ${TOOLYARD_IMAGE}
USER 0:0
# Without one, uv fetches a Python at each start: replicas keep nothing.
RUN if ! command -v python3 >/dev/null && command -v apt-get >/dev/null; then \
 apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 ca-certificates && rm -rf /var/lib/apt/lists/*; fi
COPY --from=uv /uv /uvx /usr/local/bin/
# Before those that they run, on the PATH that servers have.
COPY npx uvx /usr/local/sbin/
# Names of templates, separated by spaces.
ARG TEMPLATES=
RUN mkdir /opt/npx /opt/uv-tools && for package in $(node scripts/template-packages.ts $TEMPLATES || echo unknown); do \
 case $package in \
 npm:*) npm install --prefix /opt/npx --no-audit --no-fund --cache /tmp/npm "${package#npm:}" ;; \
 pypi:*) UV_TOOL_DIR=/opt/uv-tools UV_TOOL_BIN_DIR=/opt/uv-tools/.bin UV_PYTHON_INSTALL_DIR=/opt/uv-python UV_CACHE_DIR=/tmp/uv uv tool install "${package#pypi:}" ;; \
 *) exit 1 ;; \
 esac || exit 1; done; rm -rf /tmp/npm /tmp/uv
WORKDIR /
USER 1000:1000
# Of Toolyard's parts; replicas are asked by Toolyard.
HEALTHCHECK NONE
