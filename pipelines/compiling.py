"""Pipelines as files: KFP's YAML, the same as Kubernetes resources, and the manifest of multi-node training.

The files in `pipelines/compiled` are those of the default settings; a test compiles them again and compares.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from components.binding import container_steps
from ctgi import __version__
from ctgi.errors import CtgiError
from pipelines.catalog import PIPELINES, build
from pipelines.cluster import Cluster
from pipelines.trainjob import trainjob

HERE = Path(__file__).resolve().parent / "compiled"


def version_name(pipeline: str, compiled: str) -> str:
    """The name of a pipeline's version: that of `ctgi`, and a digest of the compiled text, since what a name
    means can't be changed on a cluster: another image or setting is another version."""
    digest = hashlib.sha256(compiled.encode()).hexdigest()[:8]
    return f"{pipeline.replace('_', '-')}-{__version__.replace('+', '-')}-{digest}"


def text(name: str, cluster: Cluster) -> str:
    """One pipeline as KFP's YAML."""
    return _compiled(name, cluster, {})


def manifest(name: str, cluster: Cluster, compiled: str) -> str:
    """The same, given its `text`, as a Pipeline and a PipelineVersion of Kubernetes."""
    from kfp.compiler.compiler_utils import KubernetesManifestOptions

    options = KubernetesManifestOptions(
        pipeline_name=name.replace("_", "-"),
        pipeline_display_name=name,
        pipeline_version_name=version_name(name, compiled),
        pipeline_version_display_name=f"{name} {__version__}",
        include_pipeline_manifest=True,
    )
    return _compiled(
        name, cluster, {"kubernetes_manifest_format": True, "kubernetes_manifest_options": options}
    )


def texts(cluster: Cluster) -> dict[str, str]:
    """Name and content of every file."""
    files: dict[str, str] = {}
    for name in PIPELINES:
        files[f"{name}.yaml"] = text(name, cluster)
        files[f"{name}.k8s.yaml"] = manifest(name, cluster, files[f"{name}.yaml"])
    return {**files, "trainjob.yaml": trainjob(cluster)}


def write(out: Path, cluster: Cluster) -> list[Path]:
    """Write the files below `out`, each whole or not at all."""
    from ctgi.storage.atomic import write_text

    made = texts(cluster)
    for name, content in made.items():
        write_text(out / name, content)
    return [out / name for name in made]


def differences(out: Path, cluster: Cluster) -> list[str]:
    """The files below `out` that are not what is compiled now."""
    wrong = []
    for name, content in texts(cluster).items():
        path = out / name
        if not path.is_file() or path.read_text(encoding="utf-8") != content:
            wrong.append(name)
    return wrong


def _compiled(name: str, cluster: Cluster, more: dict[str, Any]) -> str:
    from kfp import compiler

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, f"{name}.yaml")
        try:
            pipeline = build(name, container_steps(cluster.image), cluster)
            compiler.Compiler().compile(pipeline, str(path), **more)
        except (ValueError, TypeError, RuntimeError) as error:
            raise CtgiError(f"{name}: KFP does not compile it ({' '.join(str(error).split())})") from error
        return path.read_text(encoding="utf-8")
