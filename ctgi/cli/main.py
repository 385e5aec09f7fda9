"""`ctgi COMMAND …`: find the command, read its YAML and flags, run it, and turn bad input into one line.

Exit codes: 0 done, 2 bad input (one line says what), 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from ctgi import __version__
from ctgi.cli import config
from ctgi.cli.commands import COMMANDS
from ctgi.errors import CtgiError

EXAMPLES = """\
examples:
  ctgi index photos/ --release release/ --out gallery/
  ctgi search "a woman in a red jacket with a rucksack" --gallery gallery/ --release release/
  ctgi caption photos/ --out captions/ --server http://localhost:8000/v1 --model Qwen/Qwen2-VL-7B-Instruct

`ctgi COMMAND --help` explains a command and shows how it is used."""

# The command whose words are not read here, `--config` among them: another program reads them.
DOOR = "pipeline"

# What to install for a module that is not there.
EXTRA_OF = {
    "faiss": "search",
    "matplotlib": "figures",
    "minio": "store",
    "tokenizers": "search",
    "openai": "caption",
    "pyarrow": "caption",
    "onnx": "export",
    "onnxruntime": "search",
    "onnxscript": "export",
    "open_clip": "train",
    "regex": "train",
    "safetensors": "train",
    "torch": "train",
    "torchvision": "train",
    "transformers": "train",
}


class OneLineParser(argparse.ArgumentParser):
    """argparse prints its whole usage with every mistake; here one line says what is wrong."""

    def error(self, message: str) -> NoReturn:
        raise CtgiError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except CtgiError as error:
        return _complain(str(error))
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA_OF:
            raise
        return _complain(
            f"this command needs {package}, which is not installed: pip install 'ctgi[{EXTRA_OF[package]}]'"
        )
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _complain(f"{error.filename or 'the system'}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("ctgi: interrupted; run the same command again to continue", file=sys.stderr)
        return 130


def _run(words: list[str]) -> int:
    parser = OneLineParser(
        prog="ctgi",
        description="Person search in words, without human captions.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ctgi {__version__}")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", parser_class=OneLineParser
    )
    # The first word that is a command decides; only that command's file is imported.
    chosen = next((word for word in words if not word.startswith("-")), None)
    if chosen == DOOR and set(words[: (place := words.index(DOOR))]) <= {"--"}:
        return int(importlib.import_module(f"ctgi.cli.{DOOR}").run(words[place + 1 :]))
    for name, summary in COMMANDS.items():
        if name == chosen and name != DOOR:
            command = importlib.import_module(f"ctgi.cli.{name}")
            described = commands.add_parser(
                name,
                help=summary,
                description=command.__doc__,
                epilog=command.EXAMPLES,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
            config.add_arguments(described)
            command.add_arguments(described)
            config.apply(described, name, words)
        else:
            commands.add_parser(name, help=summary, add_help=False)
    options = parser.parse_args(words)
    if options.command is None:
        parser.print_help()
        return 0
    return int(importlib.import_module(f"ctgi.cli.{options.command}").run(options))


def _complain(line: str) -> int:
    print(f"ctgi: {' '.join(line.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
