"""The steps of the pipelines, one file each: a typed function whose body calls `ctgi`.

`python -m components.NAME --help` runs a step by hand. `components.binding` turns the same function into a
container component (clusters, Docker) and into a lightweight component (a process on this machine).

The files of the steps do without `from __future__ import annotations`: KFP reads annotations as objects.
"""
