"""The files of `deploy`, as far as they can be checked without what they are for."""

import configparser
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from toril._jobs.environment import KNOWN
from toril.cli import root

DEPLOY = Path(__file__).parents[2] / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
MANIFESTS: list[dict[str, Any]] = [
    each
    for file in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for each in yaml.safe_load_all(file.read_text("utf-8"))
]
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
CONTAINERS = [
    (manifest, container)
    for manifest in MANIFESTS
    if manifest["kind"] == "Deployment"
    for container in manifest["spec"]["template"]["spec"]["containers"]
]
GRACE_S = 25


def unit(file: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(file.read_text("utf-8"))
    return parser


def commands() -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """Every command of toril in the files, and the environment that its file gives it."""
    default = dict(re.findall(r"(TORIL_\w+)=(\S+)", DOCKERFILE))
    yield "Dockerfile", json.loads(re.findall(r"(?m)^CMD (\[.*\])", DOCKERFILE)[-1]), default
    for name, service in COMPOSE["services"].items():
        yield f"compose {name}", service.get("command", []), {}
    for manifest, container in CONTAINERS:
        yield f"kubernetes {manifest['metadata']['name']}", container["args"], {}
    for file in UNITS:
        words = shlex.split(unit(file)["Service"]["ExecStart"])
        yield file.name, [Path(words[0]).name, *words[1:]], {}


OURS = [(name, words, env) for name, words, env in commands() if words[:1] == ["toril"]]


@pytest.mark.parametrize(("words", "env"), [each[1:] for each in OURS], ids=[e[0] for e in OURS])
def test_every_command_is_one_that_toril_accepts(
    words: list[str], env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    group: Any = get_command(root.cli)
    command = group.commands[words[1]]

    # Raises if an option or an argument is not one.
    context = command.make_context(words[1], words[2:])

    assert "shop.workers" in context.params.values()


def test_every_place_has_a_worker_and_a_dashboard() -> None:
    verbs = {(name.partition(" ")[0].partition("-")[0], words[1]) for name, words, _ in OURS}

    assert {("kubernetes", "worker"), ("kubernetes", "dashboard")} <= verbs
    assert {("toril", "worker"), ("toril", "dashboard"), ("compose", "dashboard")} <= verbs
    assert ("Dockerfile", "worker") in verbs


def test_every_setting_is_one_that_toril_reads() -> None:
    text = "".join(
        each.read_text("utf-8")
        for each in [DEPLOY / "Dockerfile", DEPLOY / "compose.yaml", *DEPLOY.glob("kubernetes/*")]
    )

    assert set(re.findall(r"\bTORIL_\w+", text)) <= {*KNOWN}


def test_the_image_is_small_and_has_no_root() -> None:
    stages = re.findall(r"(?m)^FROM (\S+)", DOCKERFILE)
    users = re.findall(r"(?m)^USER (\S+)", DOCKERFILE)

    assert len(stages) == 2
    assert all(stage.endswith("-slim") for stage in stages)
    assert [user for user in users if user in ("root", "0")] == []
    assert users
    assert DOCKERFILE.rindex("USER") < DOCKERFILE.rindex("CMD")


@pytest.mark.parametrize(
    ("manifest", "container"), CONTAINERS, ids=[each["metadata"]["name"] for each, _ in CONTAINERS]
)
def test_probes_ask_ports_and_paths_that_are_there(
    manifest: dict[str, Any], container: dict[str, Any]
) -> None:
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for probe in ("livenessProbe", "readinessProbe"):
        asked = container.get(probe, {})
        if "httpGet" in asked:
            assert asked["httpGet"]["path"] in ("/live", "/ready")
        for kind in ("httpGet", "tcpSocket"):
            if kind in asked:
                assert asked[kind]["port"] in ports
    typed = " ".join(container["args"])
    assert all(str(port) in typed for port in ports.values())
    labels = manifest["spec"]["template"]["metadata"]["labels"]
    assert manifest["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_services_select_what_is_deployed() -> None:
    deployed = [each["spec"]["template"]["metadata"]["labels"] for each, _ in CONTAINERS]
    selectors = [each["spec"]["selector"] for each in MANIFESTS if each["kind"] == "Service"]

    assert selectors
    for selector in selectors:
        assert any(selector.items() <= labels.items() for labels in deployed)


def test_everything_leaves_a_worker_more_time_than_its_grace() -> None:
    worker = next(each for each, _ in CONTAINERS if each["metadata"]["name"] == "shop-worker")
    service = unit(DEPLOY / "systemd" / "toril-worker.service")["Service"]

    assert worker["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > GRACE_S
    assert int(COMPOSE["services"]["worker"]["stop_grace_period"].removesuffix("s")) > GRACE_S
    assert int(service["TimeoutStopSec"]) > GRACE_S
    assert service["KillMode"] == "mixed"


def test_the_store_of_compose_keeps_its_jobs() -> None:
    command = COMPOSE["services"]["valkey"]["command"]

    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert COMPOSE["services"]["valkey"]["volumes"]
