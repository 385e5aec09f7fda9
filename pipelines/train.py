"""`ctgi_train`: pictures to a published release."""

from typing import Any

from kfp import dsl

from pipelines import parts
from pipelines.graph import Graph, pipeline_config


def build(graph: Graph) -> Any:
    """The pipeline, from the steps of a graph."""

    def ctgi_train(
        pictures: str,
        work: str,
        store: str,
        server: str,
        model: str,
        encoder: str,
        release: str = "ctgi",
        pictures_layout: str = "",
        data: str = "",
        layout: str = "",
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
        metric: str = "R@1",
        floor: float = 0.0,
        min_gain: float = 0.0,
    ):
        """Pictures to a published release: interview, reconstruct, merge, train, evaluate, gate, export,
        verify, publish."""
        inputs = parts.Inputs(
            pictures, pictures_layout, work, store, release, server, model, rounds, min_probability,
            concurrency, reconstructor_server, reconstructor_model, min_answers, encoder, weights, training,
            data, layout, split, metric, floor, min_gain,
        )  # fmt: skip
        end = graph.add("report_state", pipeline="ctgi_train", work=work)
        with dsl.ExitHandler(end, name="run"):
            names, plan = parts.begin(graph, inputs, per_shard)
            merged = parts.caption(graph, inputs, plan)
            trained = parts.learn(graph, inputs, names, merged)
            with dsl.If(trained.gate.outputs["Output"] == "pass", name="passed"):
                parts.publish(graph, inputs, names, plan, merged, trained)

    described = "CTGI: pictures to a published release"
    config = pipeline_config(graph.cluster)
    return dsl.pipeline(
        ctgi_train,
        name="ctgi-train",
        description=described,
        display_name="ctgi_train",
        pipeline_config=config,
    )
