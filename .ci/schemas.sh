#!/usr/bin/env bash
# Fetch the schemas that reports are checked against, out of public packages that carry them.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p schemas
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
../.venv/bin/pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: \
    --dest "$work" 'pytest==9.2.0'
tar xzOf "$work"/pytest-*.tar.gz --wildcards '*/testing/example_scripts/junit-10.xsd' \
    >schemas/junit-10.xsd
(cd "$work" && npm pack --silent '@microsoft/jest-sarif@1.0.0-beta.0' >/dev/null)
tar xzOf "$work"/microsoft-jest-sarif-*.tgz package/lib/schemas/sarif-2.1.0-rtm.5.json \
    >schemas/sarif-2.1.0.json
../.venv/bin/pip download --quiet --disable-pip-version-check --no-deps --dest "$work" \
    'kubernetes-validate==1.37.0'
../.venv/bin/python - "$work"/kubernetes_validate-*.whl schemas/kubernetes <<'PYTHON'
import sys, zipfile
from pathlib import Path

archive, folder = zipfile.ZipFile(sys.argv[1]), Path(sys.argv[2])
folder.mkdir(exist_ok=True)
for kind in (
    "_definitions", "configmap-v1", "deployment-apps-v1", "horizontalpodautoscaler-autoscaling-v2",
    "namespace-v1", "networkpolicy-networking-v1", "poddisruptionbudget-policy-v1", "service-v1",
):
    name = f"kubernetes_validate/kubernetes-json-schema/v1.34.0-local-strict/{kind}.json"
    (folder / f"{kind}.json").write_bytes(archive.read(name))
PYTHON
