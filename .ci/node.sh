#!/usr/bin/env bash
# Install the programs of npm that tests run: the certified OpenID Connect provider.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p node
npm install --silent --no-audit --no-fund --ignore-scripts --prefix node 'oidc-provider@9.13.3'
