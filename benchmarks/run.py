"""`python -m benchmarks.run [NAME …]`: every comparison, printed as ratios and written to out/bench/."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path

from ctgi.errors import CtgiError
from ctgi.storage.atomic import write_json

BENCHMARKS = (
    "text_encoding",
    "evaluation",
    "index_search",
    "dossiers",
    "captioning",
    "loader",
    "training_step",
    "pipeline_overhead",
    "store",
)
OUT = Path("out/bench")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"any of {', '.join(BENCHMARKS)}; all if none"
    )
    parser.add_argument("--json", type=Path, default=OUT / "results.json", help="default: %(default)s")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    load = os.getloadavg()[0]
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}"
    )
    results, failed = {}, False
    for name in arguments.names or BENCHMARKS:
        print(f"\n{name}", flush=True)
        try:
            ratios = importlib.import_module(f"benchmarks.{name}").measure(OUT)
        except CtgiError as error:
            print(f"  not measured: {error}", file=sys.stderr, flush=True)
            failed = True
            continue
        for ratio in ratios:
            print(f"  {ratio}", flush=True)
        results[name] = [{**asdict(ratio), "ratio": ratio.ratio} for ratio in ratios]
    write_json(arguments.json, {"cores": os.cpu_count(), "load": load, "results": results})
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
