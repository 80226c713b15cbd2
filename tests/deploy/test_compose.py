"""Checks of compose.yaml that need no container engine."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
WEB = ("server-1", "server-2")


def test_compose_yaml_follows_the_specification() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(ROOT / "compose.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_restart_network_and_health_check(name: str) -> None:
    service = SERVICES[name]
    assert {"restart", "networks", "healthcheck"} <= set(service)
    if service["image"] == SERVICES["migrate"]["image"]:
        assert ("build" in service) == (name == "migrate"), "built once"
        assert service["pull_policy"] == "never", "never pulled from a registry"
        assert "depends_on" not in service or name == "migrate", "its replacement must not wait for others"
    elif "build" not in service:
        assert re.fullmatch(r"[a-z0-9./_-]+:[0-9][a-z0-9._-]*", service["image"]), "pinned to a version, not latest"


@pytest.mark.parametrize("name", SERVICES)
def test_everything_that_a_service_references_is_declared(name: str) -> None:
    service = SERVICES[name]
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
    assert set(service.get("depends_on", {})) <= set(SERVICES)
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith("."):
            assert (ROOT / source).exists(), source
        else:
            assert source in COMPOSE["volumes"], source


def test_referenced_files_exist() -> None:
    for service in SERVICES.values():
        if "build" in service:
            assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    for secret in COMPOSE["secrets"].values():
        assert secret["file"].startswith("./deploy/secrets/")
    assert (ROOT / "deploy" / "secrets" / "README.md").is_file()


@pytest.mark.parametrize("name", ["server-1", "scheduler", "migrate"])
def test_commands_exist(name: str) -> None:
    from typer.testing import CliRunner

    from update_server.__main__ import app

    program, *arguments = SERVICES[name]["command"]
    assert program == "update-server"
    assert CliRunner().invoke(app, [*arguments, "--help"]).exit_code == 0


def test_every_setting_exists() -> None:
    from update_server.operations.settings_page import described

    known = {item.name for item in described()}
    for name in ("server-1", "scheduler", "migrate"):
        ours = {key for key in SERVICES[name]["environment"] if key.startswith(("UPDATE_SERVER_", "AGGREGATION_"))}
        assert ours <= known, name


def test_caddy_and_the_health_check_use_the_servers_port() -> None:
    port = str(SERVICES["server-1"]["environment"]["UPDATE_SERVER_PORT"])
    assert SERVICES["server-1"] == SERVICES["server-2"]
    assert SERVICES["caddy"]["environment"]["SERVERS"].split() == [f"server-1:{port}", f"server-2:{port}"]
    assert "depends_on" not in SERVICES["caddy"], "otherwise it would be replaced together with the servers"
    assert f":{port}/health/live" in " ".join(SERVICES["server-1"]["healthcheck"]["test"])
    inside = {published.split(":")[1] for published in SERVICES["caddy"]["ports"]}
    assert inside == {"80", "443", "443/udp"}


def test_grafana_and_caddy_cannot_reach_the_raw_store() -> None:
    of_raw = set(SERVICES["postgres-raw"]["networks"])
    assert not of_raw & set(SERVICES["grafana"]["networks"])
    assert not of_raw & set(SERVICES["caddy"]["networks"])
    assert "AGGREGATION_RAW_URL" not in str(SERVICES["grafana"])
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["caddy"]


@pytest.mark.parametrize("name", SERVICES)
def test_services_run_unprivileged_and_read_only(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[1-9][0-9]+:[1-9][0-9]+", service["user"]), "a user that is not root"
    assert not [key for key in ("privileged", "network_mode", "pid", "devices", "env_file") if key in service]
    for volume in service.get("volumes", []):
        assert not volume.startswith(".") or volume.endswith(":ro"), volume


@pytest.mark.promise("no-address-in-logs")
@pytest.mark.parametrize("name", SERVICES)
def test_container_logs_are_deleted_after_14_days(name: str) -> None:
    assert SERVICES[name]["logging"]["driver"] == "journald"
    journal = configparser.ConfigParser()
    journal.read(ROOT / "deploy" / "systemd" / "journald-containers.conf")
    assert (journal["Journal"]["MaxRetentionSec"], journal["Journal"]["MaxFileSec"]) == ("14day", "1day")


def test_compose_yaml_contains_no_secrets() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            assert "PASSWORD" not in key or str(value).startswith("/run/secrets/"), (name, key)
            assert not re.search(r"//[a-z]+:", str(value)), (name, key)


def test_services_share_only_the_expected_networks() -> None:
    members = {
        network: {name for name, service in SERVICES.items() if network in service["networks"]}
        for network in COMPOSE["networks"]
    }
    assert members == {
        "public": {"caddy"},
        "upstream": {"scheduler"},
        "proxy": {"caddy", *WEB},
        "dashboards": {"caddy", "grafana"},
        "raw": {*WEB, "scheduler", "migrate", "postgres-raw"},
        "aggregate": {*WEB, "scheduler", "migrate", "postgres-aggregate"},
        "numbers": {"grafana", "postgres-aggregate"},
        "metrics": {*WEB, "scheduler"},
    }
    inside = {name for name, network in COMPOSE["networks"].items() if network and network.get("internal")}
    assert inside == set(members) - {"public", "upstream"}
    (subnet,) = COMPOSE["networks"]["proxy"]["ipam"]["config"]
    assert SERVICES["server-1"]["environment"]["UPDATE_SERVER_TRUSTED_PROXIES"] == subnet["subnet"]


def test_level_hosts_match_the_caddyfile() -> None:
    hosts = json.loads(SERVICES["server-1"]["environment"]["UPDATE_SERVER_LEVEL_HOSTS"])
    site = SERVICES["caddy"]["environment"]["SITE_HOST"]
    assert hosts == {level: f"{level}.{site}" for level in ("basic", "middle", "full")}
    caddyfile = (ROOT / "deploy" / "Caddyfile").read_text("utf-8")
    for level in hosts:
        assert f"\n{level}.{{$SITE_HOST:localhost}} {{" in caddyfile


def test_the_raw_store_keeps_no_archive_and_logs_no_statement() -> None:
    command = " ".join(SERVICES["postgres-raw"]["command"])
    for option in ("archive_mode=off", "max_wal_senders=0", "log_connections=off", "log_statement=none"):
        assert option in command


def test_each_service_has_its_own_database_role() -> None:
    users = {
        name: set(re.findall(r"//([a-z_]+)@", " ".join(str(value) for value in SERVICES[name]["environment"].values())))
        for name in ("server-1", "scheduler", "migrate")
    }
    # The owner grants rights to the other roles, but does not know their passwords.
    assert users == {"server-1": {"web"}, "scheduler": {"scheduler"}, "migrate": {"owner", "web", "scheduler"}}
    assert SERVICES["migrate"]["secrets"] == ["owner-pgpass"]
