"""The name under which verifiers finds `alfworld_compiled.verifiers`, because it accepts no dotted names."""

from alfworld_compiled.verifiers import AlfworldEnv, AlfworldTaskset

__all__ = ["AlfworldEnv", "AlfworldTaskset"]
