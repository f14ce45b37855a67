#!/usr/bin/env bash
# Builds Toolyard's image, and from it the runner image, in which the docker and kubernetes runtimes run launches that are commands, with npx and uvx.
# Prints the variables to set.
#
#   scripts/build-images.sh [TEMPLATE…]    The runner image has the packages of these templates, which are then not fetched at each start.
#
#   ENGINE         the command of the engine: docker, else podman; or such as "podman --url unix:///run/podman/podman.sock"
#   IMAGE_PREFIX   of the images' names, such as registry.example.com/acme/, from where a cluster's nodes pull them
#   IMAGE_TAG      theirs (the version in package.json)
#   PUSH           true: they are pushed, too
#   BASE_IMAGE, DEPENDENCIES, UV_IMAGE    what they are built from, as in Dockerfile and deploy/runner/runner.Dockerfile
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
read -ra engine <<<"${ENGINE:-$(basename "$(command -v docker || command -v podman || echo docker)")}"
tag=${IMAGE_TAG:-$(sed -nE 's/^  "version": "(.*)",$/\1/p' package.json)}
toolyard=${IMAGE_PREFIX:-}toolyard:$tag runner=${IMAGE_PREFIX:-}toolyard-runner:$tag
# Podman's own format has no health checks.
export BUILDAH_FORMAT=docker

# --build-arg NAME for those of the names that are set.
given=()
use() {
  given=()
  for name in "$@"; do [ -z "${!name:-}" ] || given+=(--build-arg "$name=${!name}"); done
}
REVISION=${REVISION:-$(git rev-parse HEAD 2>/dev/null || true)}
use BASE_IMAGE DEPENDENCIES REVISION
"${engine[@]}" build --tag "$toolyard" "${given[@]}" . >&2
TOOLYARD_IMAGE=$toolyard TEMPLATES=$*
use TOOLYARD_IMAGE UV_IMAGE TEMPLATES
# Of a name of its own: Podman's remote client would have its service look for a `Dockerfile` where that was started.
"${engine[@]}" build --tag "$runner" "${given[@]}" --file deploy/runner/runner.Dockerfile deploy/runner >&2
if [ "${PUSH:-}" = true ]; then
  for image in "$toolyard" "$runner"; do "${engine[@]}" push "$image" >&2; done
fi
cat <<END
# Toolyard's own image is $toolyard.
MCP_RUNNER_IMAGE=$runner
END
