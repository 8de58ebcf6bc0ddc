"""The alert rules for Prometheus and the example for KEDA name what toril serves."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.dashboard.desk import dashboard
from toril import Job, Toril
from toril.dashboard.serve import read_auth

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
]


async def served() -> dict[str, set[str]]:
    """Return the labels of each metric that an app serves that uses everything."""

    async def fail(_: Job[Any]) -> None:
        raise ValueError("on purpose")

    async with Toril(":memory:") as app:
        app.queue("mail", dead_letter="letters")
        await app.queue("mail").add("x")
        await app.worker("mail", fail).run_until_idle()
        await app.schedules.put("s", queue="mail", name="x", every="1h")
        text = await app.monitor.prometheus()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


async def test_each_rule_uses_metrics_and_labels_that_exist() -> None:
    metrics = await served()
    names = {name for rule in RULES for name in re.findall(r"toril_\w+", rule["expr"])}
    assert len(names) >= 10
    assert names - set(metrics) == set()
    for rule in RULES:
        of_rule = {name for name in metrics if re.search(rf"\b{name}\b", rule["expr"])}
        known = set().union(*(metrics[name] for name in of_rule))
        by = re.findall(r"\b(?:by|on) \(([^)]*)\)", rule["expr"])
        matched = re.findall(r"(\w+)=~?\"", rule["expr"])
        shown = re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))
        used = {*matched, *shown, *(word.strip() for words in by for word in words.split(","))}
        assert used - known == set(), rule["alert"]


def test_each_rule_is_written_as_prometheus_reads_it() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES) >= 8
    for rule in RULES:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, rule
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"]
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
        for pair in ("()", "{}", "[]"):
            assert rule["expr"].count(pair[0]) == rule["expr"].count(pair[1]), rule["alert"]


async def test_keda_asks_for_what_the_dashboard_answers() -> None:
    text = (DEPLOY / "keda" / "scaledobject.yaml").read_text()
    scaled, auth = yaml.safe_load_all(text)
    (trigger,) = scaled["spec"]["triggers"]
    asked = trigger["metadata"]
    url = urlsplit(asked["url"])
    assert url.path == "/scale"
    assert trigger["authenticationRef"]["name"] == auth["metadata"]["name"]

    async with Toril(":memory:") as app:
        app.queue("mail", priority=3)
        await app.queue("mail").add_many([("send", n) for n in range(20)])
        async with dashboard(app, auth=read_auth("token:secret")) as client:
            path = f"{url.path.removeprefix('/')}?{url.query}"
            refused = await client.raw("GET", path)
            client.headers["Authorization"] = "Bearer secret"
            answer = await client.raw("GET", path)
    assert refused.status == 401
    assert asked["authMode"] == "bearer"
    # 20 jobs that wait, 8 a pod.
    assert answer.json[asked["valueLocation"]] == 3
    assert float(asked["targetValue"]) == 1
