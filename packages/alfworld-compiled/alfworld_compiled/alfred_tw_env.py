"""ALFWorld's text environment over compiled games: a program needs only another import."""

from __future__ import annotations

from alfworld.agents.environment.alfred_tw_env import AlfredTWEnv as StockAlfredTWEnv

from alfworld_compiled.batch import AlfworldBatchEnv

_LIMITS = {"dqn": "rl", "dagger": "dagger"}
"""The configuration's key of the step limit, by training method."""


class AlfredTWEnv(StockAlfredTWEnv):  # type: ignore[misc]
    """Finds its games by ALFWorld's configuration, as the stock class does, and plays them compiled::

        env = AlfredTWEnv(config, train_eval="eval_in_distribution").init_env(batch_size=8)

    Raises:
        GameError: the configuration's folder has no game.
        ValueError: the configuration asks for names in random order or for an expert's plan.
    """

    def init_env(self, batch_size: int) -> AlfworldBatchEnv:
        method, training = self.config["general"]["training_method"], self.train_eval == "train"
        if method not in _LIMITS:
            raise ValueError(f"general.training_method is {method!r}; expected {' or '.join(_LIMITS)}")
        if training and self.config["env"]["domain_randomization"]:
            raise ValueError(
                "env.domain_randomization shuffles the numbers in names at each load, which is not possible "
                "for a compiled game: set it to false, or use ALFWorld's own AlfredTWEnv"
            )
        if training and method == "dagger":
            raise ValueError(
                "general.training_method dagger needs `expert_plan` from the stock engine's expert, which is "
                "not compiled: set it to dqn, or use ALFWorld's own AlfredTWEnv"
            )
        limit = self.config[_LIMITS[method]]["training"]["max_nb_steps_per_episode"]
        return AlfworldBatchEnv(self.game_files, batch_size, step_limit=limit)
