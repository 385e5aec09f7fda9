"""`ctgi_refresh`: new pictures are captioned; when enough have come, a better model takes over."""

from typing import Any

from kfp import dsl

from pipelines import parts
from pipelines.graph import Graph, pipeline_config


def build(graph: Graph) -> Any:
    """The pipeline, from the steps of a graph."""

    def ctgi_refresh(
        pictures: str,
        work: str,
        store: str,
        server: str,
        model: str,
        encoder: str,
        data: str,
        layout: str,
        gallery: str,
        gallery_pictures: str,
        release: str = "ctgi",
        pictures_layout: str = "",
        split: str = "test",
        weights: str = "",
        rounds: int = 6,
        min_probability: float = 0.1,
        min_answers: int = 0,
        concurrency: int = 8,
        per_shard: int = 2000,
        reconstructor_server: str = "",
        reconstructor_model: str = "gpt-4o",
        training: dict = {},  # noqa: B006  (KFP reads defaults from the signature)
        threshold: int = 1000,
        metric: str = "R@1",
        floor: float = 0.0,
        min_gain: float = 0.0,
        dossiers: str = "",
    ):
        """New pictures are captioned. When `threshold` pictures have come that the serving release was not
        trained on, a model is trained on all, measured against the serving release on `data`, and only
        through the gate published and promoted, together with its own gallery of `gallery_pictures`."""
        inputs = parts.Inputs(
            pictures, pictures_layout, work, store, release, server, model, rounds, min_probability,
            concurrency, reconstructor_server, reconstructor_model, min_answers, encoder, weights, training,
            data, layout, split, metric, floor, min_gain,
        )  # fmt: skip
        end = graph.add("report_state", pipeline="ctgi_refresh", work=work)
        with dsl.ExitHandler(end, name="run"):
            names, plan = parts.begin(
                graph,
                inputs,
                per_shard,
                gallery=gallery,
                gallery_pictures=gallery_pictures,
                dossiers=dossiers,
            )
            merged = parts.caption(graph, inputs, plan)
            # A condition looks at an unnamed output: a local run resolves no other.
            come = graph.add(
                "enough",
                listing=plan.outputs["listing"],
                trained=names.outputs["trained"],
                work=work,
                threshold=threshold,
            )
            with dsl.If(come.outputs["Output"] == "yes", name="enough"):
                trained = parts.learn(graph, inputs, names, merged)
                with dsl.If(trained.gate.outputs["Output"] == "pass", name="passed"):
                    sent = parts.publish(graph, inputs, names, plan, merged, trained)
                    built = parts.enrol(
                        graph,
                        pictures=gallery_pictures,
                        work=work,
                        store=store,
                        release=release,
                        version=sent.outputs["version"],
                        fingerprint=sent.outputs["fingerprint"],
                        gallery=gallery,
                        server=dossiers,
                        model=model,
                        asked_by="",  # a new release's gallery holds nothing yet
                        concurrency=concurrency,
                        per_shard=per_shard,
                    )
                    graph.add(
                        "promote",
                        store=store,
                        release=release,
                        version=sent.outputs["version"],
                        fingerprint=sent.outputs["fingerprint"],
                        gallery=gallery,
                        index=built.outputs["index"],
                    )

    described = "CTGI: caption what is new, retrain when enough has come, promote through the gate"
    config = pipeline_config(graph.cluster)
    return dsl.pipeline(
        ctgi_refresh,
        name="ctgi-refresh",
        description=described,
        display_name="ctgi_refresh",
        pipeline_config=config,
    )
