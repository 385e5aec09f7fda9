"""Prompts as versioned data: one YAML file each under ``prompts/``, filled in one pass."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml

from ctgi.errors import CtgiError

# Only a lone lower-case name in braces is a placeholder, so that a prompt may show JSON.
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class Prompt:
    """One prompt: ``name``, ``number`` (its version), ``purpose`` and ``text`` with ``{placeholders}``."""

    name: str
    number: int
    purpose: str
    text: str

    @staticmethod
    def load(name: str) -> Prompt:
        """The prompt kept in ``prompts/<name>.yaml``; raises CtgiError when there is none."""
        return _load(name)

    @staticmethod
    def names() -> tuple[str, ...]:
        """The names of all prompts, sorted."""
        folder = files("ctgi.mllm") / "prompts"
        return tuple(sorted(f.name[: -len(".yaml")] for f in folder.iterdir() if f.name.endswith(".yaml")))

    @property
    def version(self) -> str:
        """``name@number``, for example ``answer@1``: part of every cache key and of every transcript."""
        return f"{self.name}@{self.number}"

    @property
    def placeholders(self) -> frozenset[str]:
        """The names that :meth:`fill` wants."""
        return frozenset(_PLACEHOLDER.findall(self.text))

    def fill(self, **values: str) -> str:
        """The text with every placeholder replaced.

        One pass over the template: what was put in is never looked at again, so braces in a user's or a
        model's text stay what they are. Raises CtgiError when a value is missing or has no place.
        """
        wanted, given = self.placeholders, frozenset(values)
        if wanted != given:
            missing, surplus = sorted(wanted - given), sorted(given - wanted)
            raise CtgiError(f"prompt {self.version}: placeholders missing {missing}, unknown {surplus}")
        return _PLACEHOLDER.sub(lambda match: values[match.group(1)], self.text)


@cache
def _load(name: str) -> Prompt:
    path = files("ctgi.mllm") / "prompts" / f"{name}.yaml"
    if not re.fullmatch(r"[a-z_]+", name) or not path.is_file():
        raise CtgiError(f"prompt {name!r}: there is none of that name; known are {', '.join(Prompt.names())}")
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    return Prompt(name, int(data["version"]), str(data["purpose"]), str(data["text"]))
