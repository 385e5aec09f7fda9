"""Compile pipelines, run them on this machine, or hand them to Kubeflow Pipelines.

The pipelines are not part of the library: they are found where this runs from the repository or in the image,
and need KFP. `ctgi pipeline VERB --help` explains a verb.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util

from ctgi.errors import CtgiError

EXAMPLES = """\
examples:
  ctgi pipeline compile --out compiled/
  ctgi pipeline run ctgi_train --local --config run.yaml
  ctgi pipeline submit ctgi_train --host https://kfp.example.org --config run.yaml
  ctgi pipeline schedule ctgi_refresh --cron "0 3 * * *" --host https://kfp.example.org --config run.yaml"""

VERBS = ("compile", "run", "submit", "schedule")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb; what follows it is read by the pipelines' own command."""
    parser.add_argument("verb", choices=VERBS, help="what to do; each has a --help of its own")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="…", help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Hand over. Raises CtgiError where the pipelines or KFP are not installed."""
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
    before = [f"--config={options.config}"] if options.config else []
    before += [f"--json={options.json}"] if options.json else []
    command = importlib.import_module("pipelines.command")
    return int(command.main([options.verb, *options.words, *before]))
