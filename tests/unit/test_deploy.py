"""What lies in ``deploy/`` fits the service: settings, ports, paths, Python, metrics. It needs no Docker."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from configparser import RawConfigParser
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from config import Settings
from domain.outcome_codes import OUTCOME_HINTS
from domain.version import VERSION
from importing.runs.task_runner import STOP_WITHIN_S
from main import STOP_CONNECTIONS_WITHIN_S
from models import OutcomeKind, PauseReason, TaskStatus
from monitoring.metrics import Metrics
from sandbox.options import parse_options

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SETTINGS = {name.upper() for name in Settings.model_fields}


def text_of(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


# --- Dockerfile ----------------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined: ``("FROM", "python:... AS builder")``."""
    lines = [line for line in text_of("Dockerfile").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def stage(name: str) -> list[tuple[str, str]]:
    """The instructions of one stage."""
    stages = re.split(r"(?m)^FROM ", "\n".join(f"{word} {rest}" for word, rest in instructions()))
    (found,) = [text for text in stages if text.splitlines()[0].endswith(f" AS {name}")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in found.splitlines()[1:])]


def environment(lines: list[tuple[str, str]]) -> dict[str, str]:
    return dict(pair.split("=", 1) for word, rest in lines if word == "ENV" for pair in rest.split())


def test_the_image_has_a_python_that_the_service_runs_on() -> None:
    (argument,) = [rest for word, rest in instructions() if word == "ARG" and rest.startswith("PYTHON=")]
    major, minor = map(int, argument.removeprefix("PYTHON=").split("-")[0].split("."))
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"]
    assert (major, minor) >= tuple(map(int, wanted.removeprefix(">=").split(".")))
    assert "slim" in argument


def test_the_image_installs_pinned_wheels_from_files_that_are_there() -> None:
    installs = [rest for word, rest in instructions() if word == "RUN" and "pip install" in rest]
    assert len(installs) == 2
    assert all("-c constraints.txt" in line and "--only-binary=:all:" in line for line in installs)
    for file in re.findall(r"-[rc] (\S+)", " ".join(installs)):
        assert (ROOT / file).is_file(), file


@pytest.mark.parametrize("name", ["service", "sandbox"])
def test_the_image_does_not_run_as_root(name: str) -> None:
    users = [rest for word, rest in stage(name) if word == "USER"]
    assert users == ["10001:10001"]


def test_the_image_names_settings_that_exist_and_the_port_that_it_serves() -> None:
    settings = environment(stage("service"))
    assert set(settings) <= SETTINGS
    assert [rest for word, rest in stage("service") if word == "EXPOSE"] == [settings["PORT"]]
    assert int(settings["PORT"]) == Settings.model_fields["port"].default
    volumes = json.loads(next(rest for word, rest in stage("service") if word == "VOLUME"))
    assert {settings["DATA_DIR"], settings["OUTPUT_DIR"]} == set(volumes)


@pytest.mark.parametrize("name", ["service", "sandbox"])
def test_what_the_image_starts_is_there_and_its_health_check_is_python(name: str) -> None:
    started = [json.loads(rest) for word, rest in stage(name) if word in ("CMD", "ENTRYPOINT")]
    (check,) = [rest.split("CMD ", 1)[1] for word, rest in stage(name) if word == "HEALTHCHECK"]
    program = json.loads(check)
    assert program[:2] == ["python", "-c"]
    compile(program[2], "health check", "exec")
    assert started[0][:2] == (["python", "main.py"] if name == "service" else ["python", "-m"])


def kept_out(path: str) -> bool:
    patterns = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and line[0] != "#"]
    parents = ["/".join(path.split("/")[:count]) for count in range(1, path.count("/") + 2)]
    return any(
        fnmatch(parent, pattern) or (pattern.startswith("**/") and fnmatch(parent.split("/")[-1], pattern[3:]))
        for pattern in patterns
        for parent in parents
    )


@pytest.mark.parametrize(
    "path", [".env", "deploy/compose.env", "web/.env", ".git/config", "data/history.sqlite3", "output/a.jpg", "a.log"]
)
def test_secrets_and_data_stay_out_of_the_image(path: str) -> None:
    assert kept_out(path)


def test_everything_that_the_service_is_made_of_comes_into_the_image() -> None:
    not_shipped = {"tests", "demo", "benchmarks", "build"}
    parts = [path.relative_to(ROOT) for path in ROOT.rglob("*") if path.suffix in (".py", ".toml", ".html", ".js")]
    shipped = [path.as_posix() for path in parts if path.parts[0] not in not_shipped and path.parts[0][0] != "."]
    shipped += [path.name for path in ROOT.glob("*.txt")]
    assert "dicom/exam/exam_types.toml" in shipped
    assert [path for path in shipped if kept_out(path)] == []


# --- compose -------------------------------------------------------------------------------------------------------


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(text_of("compose.yaml"))
    return content


@pytest.mark.parametrize("name", ["dicom-import", "xiehe"])
def test_containers_may_do_no_more_than_they_have_to(name: str) -> None:
    service = compose()["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


def test_compose_builds_stages_of_the_dockerfile_and_mounts_volumes_that_it_declares() -> None:
    content = compose()
    for service in content["services"].values():
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        assert stage(service["build"]["target"])
        mounts = [mount.rsplit(":", 2) for mount in service["volumes"] if not mount.startswith("$")]
        assert {mount[0] for mount in mounts} <= set(content["volumes"])


def test_compose_and_its_example_name_settings_that_exist() -> None:
    service = compose()["services"]["dicom-import"]
    example = dotenv_values(DEPLOY / "compose.env.example")
    assert set(service["environment"]) <= SETTINGS
    assert set(example) <= SETTINGS
    assert example["SERVICE_API_KEY"] == ""
    assert service["ports"] == ["127.0.0.1:8001:8001"]
    assert service["env_file"] == "compose.env"


def test_the_sandbox_understands_what_compose_starts_it_with() -> None:
    (entry,) = [json.loads(rest) for word, rest in stage("sandbox") if word == "ENTRYPOINT"]
    service = compose()["services"]["xiehe"]
    options = parse_options([*entry[3:], *service["command"]])
    example = dotenv_values(DEPLOY / "compose.env.example")
    assert example["BACKEND_URL"] == f"http://xiehe:{options.port}"
    assert example["API_TOKEN"] == options.token


# --- systemd -------------------------------------------------------------------------------------------------------


@pytest.fixture
def unit() -> RawConfigParser:
    parser = RawConfigParser(strict=False, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text_of("dicom-import.service"))
    return parser


def test_the_unit_starts_what_is_there_and_gives_it_time_to_stop(unit: RawConfigParser) -> None:
    service = unit["Service"]
    assert service["ExecStart"].split()[-1] == "main.py"
    assert int(service["TimeoutStopSec"]) >= 2 * (STOP_WITHIN_S + STOP_CONNECTIONS_WITHIN_S)
    assert (service["KillMode"], service["Restart"], service["UMask"]) == ("mixed", "on-failure", "0077")


def test_the_unit_keeps_the_service_in_its_own_folder(unit: RawConfigParser) -> None:
    service = unit["Service"]
    named = dict(re.findall(r"([A-Z_]+)=(\S+)", text_of("dicom-import.service").replace("Environment=", "")))
    assert (service["ProtectSystem"], service["NoNewPrivileges"], service["User"]) == ("strict", "true", "dicom-import")
    for setting in ("DATA_DIR", "OUTPUT_DIR"):
        assert setting in SETTINGS
        assert named[setting].startswith(f"/var/lib/{service['StateDirectory']}/")


# --- Prometheus and Grafana ----------------------------------------------------------------------------------------


def expressions() -> Iterator[tuple[str, str]]:
    for group in yaml.safe_load(text_of("prometheus/alerts.yaml"))["groups"]:
        yield from ((rule["alert"], rule["expr"]) for rule in group["rules"])
    for panel in json.loads(text_of("grafana/dicom-import.json"))["panels"]:
        yield from ((panel["title"], target["expr"]) for target in panel["targets"])


def families() -> dict[str, str]:
    """Every sample name that may be in the exposition, with its family's type; also of families without samples yet."""
    text = Metrics(VERSION).exposition().decode()
    found: dict[str, str] = {}
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        suffixes = ("_bucket", "_count", "_sum") if kind == "histogram" else ("",)
        found |= {name + suffix: kind for suffix in suffixes}
    return found


@pytest.mark.parametrize(("title", "expression"), list(expressions()))
def test_alerts_and_panels_ask_for_metrics_and_labels_that_exist(title: str, expression: str) -> None:
    named = set(re.findall(r"\b(?:dicom_import|process)_[a-z_]+\b", expression))
    assert named or "up{" in expression
    assert named <= set(families())
    for label, values in re.findall(r'(\w+)[=!]~?"([^"$]+)"', expression):
        known: dict[str, set[str]] = {"job": {"dicom-import"}, "outcome": set(OutcomeKind), "code": set(OUTCOME_HINTS)}
        known |= {"reason": set(PauseReason), "status": set(TaskStatus), "state": {"alive", "missing"}}
        known["result"] = {"failed", "delivered"}
        assert set(values.split("|")) <= known[label], f"{title}: {label}"


def test_counters_are_read_as_rates_and_gauges_as_they_are() -> None:
    kinds = families()
    for title, expression in expressions():
        for name in re.findall(r"\b((?:dicom_import|process)_[a-z_]+)\b", expression):
            counted = re.search(rf"(rate|increase)\({name}\b", expression)
            assert (kinds[name] != "gauge") == bool(counted), f"{title}: {name}"


def test_each_metric_of_ours_has_its_place_on_the_dashboard() -> None:
    shown = " ".join(expression for _, expression in expressions())
    ours = {re.sub(r"_(bucket|count|sum)$", "", name) for name in families() if name.startswith("dicom_import")}
    assert {name for name in ours if name not in shown} == set()


def test_alerts_say_what_to_do_and_the_scrape_finds_the_service() -> None:
    for group in yaml.safe_load(text_of("prometheus/alerts.yaml"))["groups"]:
        for rule in group["rules"]:
            assert set(rule["annotations"]) == {"summary", "description"}
            assert rule["labels"]["severity"] in ("warning", "critical")
    (scrape,) = yaml.safe_load(text_of("prometheus/prometheus.yml"))["scrape_configs"]
    (target,) = scrape["static_configs"][0]["targets"]
    host, port = target.split(":")
    assert host in (dotenv_values(DEPLOY / "compose.env.example")["ALLOWED_HOSTS"] or "").split(",")
    assert int(port) == Settings.model_fields["port"].default


@pytest.mark.parametrize("page", ["operations.md", "operations.zh-CN.md"])
def test_each_metric_of_ours_is_explained(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    ours = {re.sub(r"_(bucket|count|sum)$", "", name) for name in families() if name.startswith("dicom_import")}
    assert set(re.findall(r"^\| `(dicom_import_\w+)` \|", text, re.MULTILINE)) == ours


@pytest.mark.parametrize("page", ["windows.md", "windows.zh-CN.md"])
def test_the_paths_that_the_windows_page_shows_are_read_as_they_are_meant(page: str, tmp_path: Path) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (example,) = re.findall(r"```\n(DICOM_SOURCE_PATH=.*?)```", text, re.DOTALL)
    (tmp_path / ".env").write_text(example, encoding="utf-8")
    assert dotenv_values(tmp_path / ".env") == {
        "DICOM_SOURCE_PATH": r"D:\DICOM;\\pacs\export\DICOM",
        "OUTPUT_DIR": r"D:\dicom-import\output",
        "DATA_DIR": r"D:\dicom-import\data",
    }
