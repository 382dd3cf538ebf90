"""The dashboard and the alerts speak of metrics that exist."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
DASHBOARD = ROOT / "deploy/grafana/dashboard.json"
ALERTS = ROOT / "deploy/prometheus/alerts.yaml"
ROW = re.compile(r"^\| `(gateway_\w+)` \| (\w+) \| (.*?) \|", re.M)
SELECTED = re.compile(r"(gateway_\w+)(?:\{([^}]*)\})?")
GIVEN_BY_PROMETHEUS = {"job", "instance", "le"}

METRICS = {
    name: (kind, set(re.findall(r"`(\w+)`", labels)))
    for name, kind, labels in ROW.findall((ROOT / "docs/metrics.md").read_text())
}


def alerts():
    return [
        rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
    ]


def panels():
    return [each for each in json.loads(DASHBOARD.read_text())["panels"] if each["type"] != "row"]


def expressions():
    for rule in alerts():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in json.loads(DASHBOARD.read_text())["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]
    for annotation in json.loads(DASHBOARD.read_text())["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def metric(name):
    """The metric that a series belongs to: its kind and its labels."""
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    if METRICS.get(base, ("",))[0] == "histogram":
        assert base != name, f"{name} has no series of its own"
        return METRICS[base]
    return METRICS[name]


EXPRESSIONS = list(expressions())


@pytest.mark.parametrize(
    ("where", "expression"), EXPRESSIONS, ids=[name for name, _ in EXPRESSIONS]
)
def test_every_metric_and_label_exists(where, expression):
    found = SELECTED.findall(expression)
    assert found or re.search(r"\b(up|process_\w+)\{", expression)
    known = set(GIVEN_BY_PROMETHEUS)
    for name, selectors in found:
        kind, labels = metric(name)
        known |= labels
        assert set(re.findall(r"(\w+)\s*=", selectors)) <= labels | GIVEN_BY_PROMETHEUS
        rated = re.search(rf"(rate|increase)\({name}\b", expression) is not None
        assert rated == (kind in {"counter", "histogram"}), f"{name} is a {kind}"
    for names in re.findall(r"\bby \(([^)]*)\)", expression):
        assert set(names.split(", ")) <= known


def used(text):
    return set(re.findall(r"\{\{ ?(?:\$labels\.)?(\w+) ?\}\}", text))


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_alerts_name_what_their_expression_gives(rule):
    labels = set(GIVEN_BY_PROMETHEUS)
    for name, _ in SELECTED.findall(rule["expr"]):
        labels |= metric(name)[1]
    kept = re.findall(r"\bsum by \(([^)]*)\)", rule["expr"])
    if kept:
        labels = set(kept[0].split(", "))
    assert used("".join(rule["annotations"].values())) <= labels
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}


def test_every_condition_of_the_metrics_page_has_its_alert():
    page = (ROOT / "docs/metrics.md").read_text().partition("## What to alert on")[2]
    asked = set(re.findall(r"gateway_\w+", page))
    assert asked <= {name for rule in alerts() for name, _ in SELECTED.findall(rule["expr"])}


def test_names_are_given_once_and_panels_do_not_overlap():
    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len(set(names))
    taken = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + right, place["y"] + down)
            for right in range(place["w"])
            for down in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(column for column, _ in cells) < 24
        taken |= cells


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (prometheus)")
def test_prometheus_reads_the_expressions(tmp_path):
    done = subprocess.run(["promtool", "check", "rules", ALERTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rules = [
        {"record": f"panel:{number}", "expr": re.sub(r"\$__rate_interval", "5m", expression)}
        for number, (_, expression) in enumerate(EXPRESSIONS)
        if not expression.startswith("label_values")
    ]
    path = tmp_path / "panels.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
