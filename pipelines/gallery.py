"""`ctgi_gallery`: pictures to an index for a release; only what is new, changed or gone is touched."""

from typing import Any

from kfp import dsl

from pipelines import parts
from pipelines.graph import Graph, pipeline_config


def build(graph: Graph) -> Any:
    """The pipeline, from the steps of a graph."""

    def ctgi_gallery(
        pictures: str,
        work: str,
        store: str,
        gallery: str,
        release: str = "ctgi",
        version: str = "",
        server: str = "",
        model: str = "",
        concurrency: int = 8,
        per_shard: int = 5000,
    ):
        """Pictures to an index for a release, the serving one where no version is named. With a chat model
        pictures are asked for their dossiers, too."""
        end = graph.add("report_state", pipeline="ctgi_gallery", work=work)
        with dsl.ExitHandler(end, name="run"):
            tried = graph.add(
                "preflight",
                work=work,
                store=store,
                server=server,
                model=model,
                pictures=pictures,
                gallery=gallery,
            )
            names = graph.add("resolve", store=store, release=release, version=version).after(tried)
            parts.enrol(
                graph,
                pictures=pictures,
                work=work,
                store=store,
                release=release,
                version=names.outputs["serving_version"],
                fingerprint=names.outputs["serving_fingerprint"],
                gallery=gallery,
                server=server,
                model=model,
                asked_by=model,
                concurrency=concurrency,
                per_shard=per_shard,
            )

    described = "CTGI: pictures to an index for a release"
    config = pipeline_config(graph.cluster)
    return dsl.pipeline(
        ctgi_gallery,
        name="ctgi-gallery",
        description=described,
        display_name="ctgi_gallery",
        pipeline_config=config,
    )
