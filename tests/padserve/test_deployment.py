"""The files that deploy: what they start, with which settings. No Docker is needed to read them."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped] # published without types

from padserve.settings import KNOWN_NAMES
from worker.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
DOCKERFILES = tuple(sorted((ROOT / "docker").glob("*.Dockerfile")))


def extras_of(dockerfile: str) -> set[str]:
    (extras,) = re.findall(r'pip install -c constraints.txt "\.\[(.*?)\]"', (ROOT / "docker" / dockerfile).read_text())
    return set(extras.split(","))


def make(*arguments: str, **settings: str) -> str:
    """What a make of its own prints: `make test` hands its flags and level on, and a nested make reports its folder."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PADSERVE_", "MAKE", "MFLAGS"))
    }
    command = ["make", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=inherited | settings, check=True, capture_output=True, text=True
    ).stdout


def make_up(*arguments: str, **settings: str) -> str:
    """The command that `make up` would run."""
    return make("--dry-run", "--assume-old=.venv/.installed", "up", *arguments, **settings).splitlines()[-1]


def test_every_service_is_started_and_watched() -> None:
    assert set(SERVICES) == {"api", "worker", "worker-cpu", "migrate", "postgres", "redis", "prometheus", "grafana"}
    assert all("healthcheck" in service for service in SERVICES.values())


def test_api_and_workers_wait_for_the_migration_and_for_healthy_servers() -> None:
    for name in ("api", "worker", "worker-cpu"):
        conditions = {other: how["condition"] for other, how in SERVICES[name]["depends_on"].items()}
        assert conditions == {
            "migrate": "service_completed_successfully",
            "postgres": "service_healthy",
            "redis": "service_healthy",
        }


def test_one_worker_has_a_gpu_and_the_other_has_none() -> None:
    (device,) = SERVICES["worker"]["deploy"]["resources"]["reservations"]["devices"]

    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert "deploy" not in SERVICES["worker-cpu"]
    assert (SERVICES["worker"]["profiles"], SERVICES["worker-cpu"]["profiles"]) == (["gpu"], ["cpu"])


def test_logs_of_every_service_are_bounded() -> None:
    for service in SERVICES.values():
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}


def test_monitoring_is_started_only_where_it_is_asked_for_and_reached_from_this_machine_only() -> None:
    for name in ("prometheus", "grafana"):
        assert SERVICES[name]["profiles"] == ["monitoring"]
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", SERVICES[name]["image"])
        assert all(port.startswith("127.0.0.1:") for port in SERVICES[name]["ports"])


@pytest.mark.parametrize("name", ["worker", "worker-cpu"])
def test_what_may_be_set_of_a_worker_reaches_it_from_the_environment(name: str) -> None:
    fields = WorkerSettings.model_fields.keys() - {"tensor_parallel", "max_attempts"}
    about_models = {f"PADSERVE_{field.upper()}" for field in fields if not field.endswith("_seconds")}

    assert about_models <= SERVICES[name]["environment"].keys()


def test_redis_forgets_nothing() -> None:
    command = " ".join(SERVICES["redis"]["command"])

    assert "--maxmemory-policy noeviction" in command
    assert "--appendonly yes" in command


def test_every_setting_in_the_deployment_files_is_known() -> None:
    files = (ROOT / "docker-compose.yml", ROOT / "Makefile", *DOCKERFILES)

    named = {name for file in files for name in re.findall(r"\bPADSERVE_[A-Z_]+\b", file.read_text())}

    assert named
    assert named <= KNOWN_NAMES


def test_every_folder_that_a_service_mounts_or_builds_from_is_in_a_checkout_or_made_by_its_user() -> None:
    for service in SERVICES.values():
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            is_ours = source.startswith("./docker/") and (ROOT / source).is_file()
            assert source == "./models" or is_ours or source in COMPOSE["volumes"]


def test_the_api_image_has_no_torch_and_the_worker_image_has() -> None:
    assert extras_of("api.Dockerfile") == {"postgres", "otel"}
    assert extras_of("worker.Dockerfile") == {"postgres", "worker", "otel"}


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_images_run_as_a_user_without_privileges(dockerfile: Path) -> None:
    lines = dockerfile.read_text().splitlines()

    assert lines.index("USER padserve") < next(index for index, line in enumerate(lines) if line.startswith("CMD"))


def test_make_up_serves_the_demo_model_unless_another_is_named() -> None:
    assert "PADSERVE_MODEL=examples/demo/model/base PADSERVE_POLICY=examples/demo/model/policy" in make_up()
    assert "examples/demo" not in make_up(PADSERVE_MODEL="gpt2")
    assert "examples/demo" not in make_up("PADSERVE_MODEL=gpt2")


def test_make_lists_its_targets() -> None:
    listed = make("help")

    for target in ("install", "demo", "demo-real", "up", "test", "check", "clean"):
        assert f"make {target} " in listed
