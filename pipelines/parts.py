"""The stretches that pipelines share. Each adds tasks to the pipeline that is being built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kfp import dsl

from pipelines.graph import Graph


@dataclass(frozen=True)
class Inputs:
    """The parameters of a pipeline as its stretches use them."""

    pictures: Any
    pictures_layout: Any
    work: Any
    store: Any
    release: Any
    server: Any
    model: Any
    rounds: Any
    min_probability: Any
    concurrency: Any
    reconstructor_server: Any
    reconstructor_model: Any
    min_answers: Any
    encoder: Any
    weights: Any
    training: Any
    data: Any
    layout: Any
    split: Any
    metric: Any
    floor: Any
    min_gain: Any


def begin(graph: Graph, inputs: Inputs, per_shard: Any, **later: Any) -> tuple[Any, Any]:
    """Try everything once, `later` being what only the last steps need, resolve names, plan the shards;
    returns the last two tasks."""
    tried = graph.add(
        "preflight",
        work=inputs.work,
        store=inputs.store,
        server=inputs.server,
        model=inputs.model,
        reconstructor_server=inputs.reconstructor_server,
        reconstructor_model=inputs.reconstructor_model,
        pictures=inputs.pictures,
        **later,
    )
    names = graph.add(
        "resolve",
        store=inputs.store,
        release=inputs.release,
        encoder=inputs.encoder,
        weights=inputs.weights,
        data=inputs.data,
        layout=inputs.layout,
    ).after(tried)
    plan = graph.add(
        "plan_shards",
        pictures=inputs.pictures,
        layout=inputs.pictures_layout,
        work=inputs.work,
        per_shard=per_shard,
    ).after(names)  # an encoder or data set that is not there is said before anything is spent
    return names, plan


def caption(graph: Graph, inputs: Inputs, plan: Any) -> Any:
    """Interview and reconstruct every shard, then merge; returns the merging task."""
    with dsl.ParallelFor(plan.outputs["Output"], name="shards", parallelism=graph.parallelism) as item:
        told = graph.add(
            "caption_shard",
            shard=item.shard,
            digest=item.digest,
            pictures=inputs.pictures,
            layout=inputs.pictures_layout,
            work=inputs.work,
            server=inputs.server,
            model=inputs.model,
            rounds=inputs.rounds,
            min_probability=inputs.min_probability,
            concurrency=inputs.concurrency,
        )
        written = graph.add(
            "reconstruct_shard",
            shard=item.shard,
            interviews=told.outputs["captions"],
            work=inputs.work,
            server=inputs.reconstructor_server,
            model=inputs.reconstructor_model,
            concurrency=inputs.concurrency,
        )
    return graph.add(
        "merge_captions", shards=dsl.Collected(written.outputs["captions"]), min_answers=inputs.min_answers
    )


@dataclass(frozen=True)
class Trained:
    """The tasks of one training."""

    train: Any
    evaluate: Any
    gate: Any


def learn(graph: Graph, inputs: Inputs, names: Any, merged: Any) -> Trained:
    """Train, measure beside what serves, decide."""
    trained = graph.add(
        "train",
        captions=merged.outputs["captions"],
        digest=merged.outputs["digest"],
        pictures=inputs.pictures,
        pictures_layout=inputs.pictures_layout,
        work=inputs.work,
        encoder=inputs.encoder,
        encoder_digest=names.outputs["encoder_digest"],
        weights=inputs.weights,
        data=inputs.data,
        layout=inputs.layout,
        data_digest=names.outputs["data_digest"],
        settings=inputs.training,
        gpus=graph.gpus,
    )
    measured = graph.add(
        "evaluate",
        checkpoint=trained.outputs["checkpoint"],
        captions=merged.outputs["captions"],
        pictures=inputs.pictures,
        pictures_layout=inputs.pictures_layout,
        work=inputs.work,
        encoder=inputs.encoder,
        encoder_digest=names.outputs["encoder_digest"],
        data=inputs.data,
        layout=inputs.layout,
        split=inputs.split,
        data_digest=names.outputs["data_digest"],
        store=inputs.store,
        release=inputs.release,
        serving_version=names.outputs["serving_version"],
        serving_fingerprint=names.outputs["serving_fingerprint"],
    )
    decided = graph.add(
        "gate",
        evaluation=measured.outputs["evaluation"],
        metric=inputs.metric,
        floor=inputs.floor,
        min_gain=inputs.min_gain,
    )
    return Trained(trained, measured, decided)


def publish(graph: Graph, inputs: Inputs, names: Any, plan: Any, merged: Any, trained: Trained) -> Any:
    """Export, verify, publish; returns the publishing task."""
    exported = graph.add(
        "export",
        checkpoint=trained.train.outputs["checkpoint"],
        release=inputs.release,
        captions_digest=merged.outputs["digest"],
        pictures_list=plan.outputs["listing"],
        encoder_digest=names.outputs["encoder_digest"],
        data=inputs.data,
        layout=inputs.layout,
        data_digest=names.outputs["data_digest"],
    )
    verified = graph.add(
        "verify_parity",
        checkpoint=trained.train.outputs["checkpoint"],
        exported=exported.outputs["exported"],
        captions=merged.outputs["captions"],
    )
    return graph.add(
        "publish",
        exported=exported.outputs["exported"],
        parity=verified.outputs["metrics"],
        evaluation=trained.evaluate.outputs["evaluation"],
        store=inputs.store,
        release=inputs.release,
    )


def enrol(
    graph: Graph,
    *,
    pictures: Any,
    work: Any,
    store: Any,
    release: Any,
    version: Any,
    fingerprint: Any,
    gallery: Any,
    server: Any,
    model: Any,
    asked_by: Any,
    concurrency: Any,
    per_shard: Any,
) -> Any:
    """Embed what the release's gallery does not have, and bring it up to date; returns the last task."""
    plan = graph.add(
        "plan_shards",
        pictures=pictures,
        work=work,
        per_shard=per_shard,
        known=gallery,
        version=version,
        fingerprint=fingerprint,
        asked_by=asked_by,
    )
    with dsl.ParallelFor(plan.outputs["Output"], name="gallery", parallelism=graph.parallelism) as item:
        embedded = graph.add(
            "embed_shard",
            shard=item.shard,
            digest=item.digest,
            pictures=pictures,
            work=work,
            store=store,
            release=release,
            version=item.version,
            fingerprint=item.fingerprint,
            server=server,
            model=model,
            concurrency=concurrency,
        )
    return graph.add(
        "build_index",
        embedded=dsl.Collected(embedded.outputs["embedded"]),
        gallery=gallery,
        fingerprint=fingerprint,
        listing=plan.outputs["listing"],
        pictures=pictures,
        work=work,
    )
