"""The files of a team's container: they parse, name what is there, and listen on loopback alone."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib import import_module
from importlib.metadata import version

import yaml
from dagster._core.launcher import RunLauncher

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


def test_helms_values_keep_all_runs_in_the_pod_of_the_code() -> None:
    values = yaml.safe_load((DEPLOY / "helm-values.yaml").read_text())
    assert values["runLauncher"]["type"] == "CustomRunLauncher"
    launcher = values["runLauncher"]["config"]["customRunLauncher"]
    kind = getattr(import_module(launcher["module"]), launcher["class"])
    assert issubclass(kind, RunLauncher)
    kind.from_config_value(None, launcher["config"])
    (code,) = values["dagster-user-deployments"]["deployments"]
    assert code["replicaCount"] == 1
    assert code["dagsterApiGrpcArgs"] == ["--module-name", location()]
    mounts = {mount["name"]: mount["mountPath"] for mount in code["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in code["volumes"]}
    assert {"name": "SAND_HOME", "value": mounts["home"]} in code["env"]


def test_the_page_names_what_helms_values_need() -> None:
    page = (ROOT / "docs" / "team.md").read_text()
    (code,) = yaml.safe_load((DEPLOY / "helm-values.yaml").read_text())["dagster-user-deployments"][
        "deployments"
    ]
    claims = [
        each["persistentVolumeClaim"]["claimName"] for each in code["volumes"] if each["name"] == "home"
    ]
    for name in (*claims, *(secret["name"] for secret in code["envSecrets"]), POSTGRES):
        assert f"`{name}`" in page
    assert f"--version {version('dagster')} --values deploy/helm-values.yaml" in page
    assert "Helm itself was not run" in page


def location() -> str:
    """The module of the code location, as the webserver of a machine loads it."""
    (loaded,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    return str(loaded["python_module"]["module_name"])
