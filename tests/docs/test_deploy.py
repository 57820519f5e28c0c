"""The files of a team's container: they parse, name what is there, and listen on loopback alone."""

from __future__ import annotations

import re
import shutil
import subprocess

import yaml

from sand_dagster.jobs.instance import _DRIVER, POSTGRES
from tests.docs.blocks import ROOT

DEPLOY = ROOT / "deploy"


def test_the_services_listen_on_loopback_and_have_no_password_of_their_own() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert services.keys() == {"postgres", "sand"}
    assert all(service["network_mode"] == "host" for service in services.values())
    assert "listen_addresses=127.0.0.1" in services["postgres"]["command"]
    assert "--host 127.0.0.1" in (DEPLOY / "start.sh").read_text()
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"].startswith("${SAND_POSTGRES_PASSWORD:?")


def test_the_run_container_uses_the_database_of_the_other() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    url = services["sand"]["environment"][POSTGRES]
    (port,) = (part.partition("=")[2] for part in services["postgres"]["command"] if part.startswith("port="))
    name = services["postgres"]["environment"]["POSTGRES_DB"]
    assert url == f"{_DRIVER}sand:${{SAND_POSTGRES_PASSWORD}}@127.0.0.1:{port}/{name}"
    (mount,) = services["sand"]["volumes"]
    assert mount.rpartition(":")[2] == services["sand"]["environment"]["SAND_HOME"]


def test_the_files_that_they_name_are_there() -> None:
    build = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["sand"]["build"]
    context = DEPLOY / build["context"]
    assert context.resolve() == ROOT.resolve()
    containerfile = (context / build["dockerfile"]).read_text()
    for path in re.findall(r"/opt/sand/(deploy/\S+?)\"", containerfile):
        assert (ROOT / path).is_file()
    assert re.search(r"^setup:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert (ROOT / "workspace.yaml").is_file()


def test_the_start_script_is_a_script() -> None:
    shell = shutil.which("sh")
    assert shell is not None
    subprocess.run([shell, "-n", DEPLOY / "start.sh"], check=True)
