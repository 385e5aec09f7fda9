"""Compile pipelines, run them on this machine, or hand them to Kubeflow Pipelines.

The pipelines are not part of the library: they are found where this runs from the repository or in the image,
and need KFP. `ctgi pipeline VERB --help` explains a verb. `python -m pipelines` is the same command.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
from collections.abc import Sequence

from ctgi.errors import CtgiError

EXAMPLES = """\
examples:
  ctgi pipeline compile --out compiled/
  ctgi pipeline run ctgi_train --local --config run.yaml
  ctgi pipeline submit ctgi_train --host https://kfp.example.org --config run.yaml
  ctgi pipeline schedule ctgi_refresh --cron "0 3 * * *" --host https://kfp.example.org --config run.yaml"""

VERBS = ("compile", "run", "submit", "schedule")


def run(words: Sequence[str]) -> int:
    """Let the pipelines' own command read what follows `ctgi pipeline`: its verbs have their own `--config`.

    Raises CtgiError where the pipelines or KFP are not installed.
    """
    if words and words[0] in ("-h", "--help"):  # answered without them
        _help()
        return 0
    if importlib.util.find_spec("pipelines") is None:
        raise CtgiError(
            "the pipelines are not here; run from the repository or its image, with "
            "pip install 'ctgi[pipelines]'"
        )
    for module in ("kfp", "kfp.kubernetes"):
        try:
            found = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise CtgiError(
                f"the pipelines need {module}, which is not installed: pip install 'ctgi[pipelines]'"
            )
    return int(importlib.import_module("pipelines.command").main(words))


def _help() -> None:
    parser = argparse.ArgumentParser(
        prog="ctgi pipeline",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("verb", choices=VERBS, help="what to do; each has a --help of its own")
    parser.print_help()
