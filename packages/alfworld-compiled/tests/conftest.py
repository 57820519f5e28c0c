"""The games of `alfworld_compiled.testing`."""

from alfworld_compiled.testing import *  # noqa: F403
