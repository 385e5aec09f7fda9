"""``python -m demo.run``: the whole loop on rendered people, from pictures to a table and a report.

Renders a world, interviews its training pictures with the small Qwen2-VL (MTG), fine-tunes the small CLIP,
exports and indexes it, measures the rows of the paper's Table 4, and answers three vague descriptions with
MTI. Stages that are done are skipped, a stage that was interrupted goes on. Results: OUT/results.json and
OUT/report.html.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctgi.captioning.progress import duration
from ctgi.errors import CtgiError
from ctgi.storage.alone import alone
from demo.models.launch import CLIP, QWEN2VL
from demo.settings import FULL, SMALL
from demo.stages import Stages, digest_model

if TYPE_CHECKING:
    from demo.loop import Loop

_ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str] | None = None) -> int:
    return guarded(parser("python -m demo.run", __doc__).parse_args(arguments), _run)


def guarded(options: argparse.Namespace, work: Callable[[argparse.Namespace], None]) -> int:
    """``work`` with the folder to itself; what is wrong is said in one line. Returns the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        with alone(options.out, "--out"):
            work(options)
    except KeyboardInterrupt:
        print("\ndemo: interrupted; run it again to go on", file=sys.stderr)
        return 130
    except (CtgiError, OSError, ValueError) as error:
        print(f"demo: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def parser(prog: str, described: str | None) -> argparse.ArgumentParser:
    """The flags of every command that works in a demo's folder."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=described,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"example: {prog} --out out/demo",
    )
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder (default: %(default)s)")
    parser.add_argument("--qwen2vl", type=Path, default=QWEN2VL, metavar="DIR", help="the small Qwen2-VL")
    parser.add_argument(
        "--server", metavar="URL", help="a running server of the small Qwen2-VL (default: one is started)"
    )
    parser.add_argument("--clip", type=Path, default=CLIP, metavar="DIR", help="the small CLIP")
    parser.add_argument("--small", action="store_true", help="tiny sizes: a test of the machinery only")
    parser.add_argument(
        "--threads",
        type=int,
        default=min(2, os.cpu_count() or 1),
        help="of training and of the models' server (default: %(default)s)",
    )
    return parser


@contextmanager
def opened(options: argparse.Namespace, left_out: Container[str] = ()) -> Iterator[Loop]:
    """The demo of these options, with its chat model at hand; ``left_out`` names stages that will not run."""
    if options.threads < 1:
        raise CtgiError(f"--threads {options.threads}: give a whole number from 1")
    clip_digest, qwen_digest = digest_model(options.clip), digest_model(options.qwen2vl)
    from demo.chat_models import ChatModel
    from demo.loop import Loop
    from demo.results import TITLES

    count = sum(name not in left_out for name in TITLES)
    stages = Stages(options.out, count, lambda line: print(line, flush=True))
    settings = SMALL if options.small else FULL
    with ChatModel(
        options.qwen2vl, qwen_digest, options.out / "replies", options.threads, options.server
    ) as chat:
        _limit_threads(options.threads)
        yield Loop(stages, settings, options.clip, clip_digest, options.threads, chat)


def _run(options: argparse.Namespace) -> None:
    from ctgi.storage.atomic import read_json
    from demo.interaction.work import RESULTS
    from demo.results import gather

    with opened(options) as loop:
        loop.learn()
        loop.publish()
        loop.measure()
        loop.interact()
    stages = loop.stages
    commands = _commands(options, stages.records["choose"].result)
    beyond = read_json(options.out / "interaction" / RESULTS)
    results = gather(stages.records, loop.settings, vars(options), commands, beyond)
    _report(options.out, results)
    _tell(options.out, results, stages.elapsed)


def _limit_threads(threads: int) -> None:
    """For libraries that read it when they are imported, which none is yet."""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))


def _report(out: Path, results: Mapping[str, Any]) -> None:
    """Written in every run: it takes a second or two, and is what one looks at after changing its page."""
    from ctgi.storage.atomic import write_json, write_text
    from demo.report import write_report

    write_json(out / "results.json", results)
    write_text(out / "report.html", write_report(results, out))


def _commands(options: argparse.Namespace, chosen: Mapping[str, Any]) -> list[str]:
    """How to go on from here, with what was chosen on val."""
    out, model = options.out, options.qwen2vl
    if model.resolve().is_relative_to(_ROOT):
        model = model.resolve().relative_to(_ROOT)
    python = Path(sys.executable).parent
    here = Path.cwd()
    if python.is_relative_to(here):
        python = python.relative_to(here)
    query = '"a woman in a red jacket with a rucksack"'
    search = f"{python}/ctgi search {query} --gallery {out}/gallery --release {out}/release"
    mti = f"--lam {chosen['lam']:g} --mti-min-probability {chosen['min_probability']:g} --save {out}/mine.png"
    return [
        "# the plain search",
        search,
        "# with MTI: start the server in another terminal, then search",
        f"{python}/python -m demo.models.server --model {model} --port 8100",
        f"{search} \\",
        f"    --server http://127.0.0.1:8100/v1 --model {model.resolve().name} {mti}",
    ]


def _tell(out: Path, results: Mapping[str, Any], seconds: float) -> None:
    from ctgi.evaluation.table import markdown
    from demo.table import as_rows

    print(f"\n{markdown(as_rows(results['table']['rows']))}")
    for row in results["differences"]:
        gain, word = row["metrics"]["R@1"], row["verdict"]["R@1"]
        print(f"{row['what']}: R@1 {gain['value']:+.1f} [{gain['low']:+.1f}, {gain['high']:+.1f}], {word}")
    score = results["small_models"]["qwen2vl"]
    print(
        f"\nsmall Qwen2-VL on unseen people: {score['mean']:.1%} of attribute answers right, "
        f"judge ROC-AUC {score['judge']['auc']:.3f}"
    )
    print("\n".join(["", *results["commands"], ""]))
    print(f"report: {out}/report.html   figures: {out}/results.json   {duration(seconds)} in all")


if __name__ == "__main__":
    sys.exit(main())
