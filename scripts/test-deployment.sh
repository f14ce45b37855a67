#!/usr/bin/env bash
# scripts/test-deployment.sh NAME: asks a deployment for its MCP tools, through the proxy, as any client would, and says what is wrong.
# It is `npm run toolyard -- test NAME`: logged in by `npm run toolyard -- login`, or with TOOLYARD_URL and TOOLYARD_TOKEN (an API key will do).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec node_modules/.bin/node cli/main.ts test "$@"
