"""The settings of the loop over the iterations that a person can change in the launchpad."""

import dagster as dg
from pydantic import Field


class Loop(dg.ConfigurableResource[None]):
    """How far the sensor `advance` continues after a successful iteration."""

    until: str = Field(
        default="",
        description="continue with the next iterations up to this one (for example 03); empty: stop",
    )
