"""Adds steps to a pipeline, with what each needs: means, secrets, retries, and whether it may be cached."""

from __future__ import annotations

from typing import Any

from kfp import dsl, kubernetes

from components.binding import Steps
from ctgi.export.lineage import IMAGE_DIGEST
from pipelines.cluster import Cluster, Need

# Steps whose inputs are digests, or artifacts made from such, are the same work whenever they are the same
# call. All others look at something that may have changed: folders, the store, the gallery.
CACHED = {
    "caption_shard",
    "reconstruct_shard",
    "merge_captions",
    "enough",
    "train",
    "evaluate",
    "gate",
    "export",
    "verify_parity",
    "embed_shard",
}
SHOWN = {
    "preflight": "try everything once",
    "resolve": "resolve names to digests",
    "plan_shards": "plan shards",
    "caption_shard": "caption a shard (MTG)",
    "reconstruct_shard": "reconstruct a shard",
    "merge_captions": "merge and filter",
    "enough": "enough new pictures?",
    "train": "train",
    "evaluate": "evaluate",
    "gate": "gate",
    "export": "export to ONNX",
    "verify_parity": "verify parity",
    "publish": "publish the release",
    "embed_shard": "embed a gallery shard",
    "build_index": "build the index",
    "promote": "promote",
    "report_state": "report the state",
}

#: Who steps run as: the user of the images.
USER = 10001


class Graph:
    """Builds one pipeline from the steps of a binding, for a cluster or (cluster None) for this machine.

    `gpus` of this machine: more than one are used by torchrun, otherwise training takes what there is.
    """

    def __init__(self, steps: Steps, cluster: Cluster | None, gpus: int = 0) -> None:
        self.steps, self.cluster = steps, cluster
        self.gpus = gpus if cluster is None else cluster.training.gpus

    @property
    def parallelism(self) -> int:
        return 2 if self.cluster is None else self.cluster.parallelism

    @property
    def cached(self) -> bool:
        """Whether KFP's cache, which knows an image by its name, can tell one image from another: on this
        machine its id or the source's digest is that name, on a cluster it has to be pinned."""
        return self.cluster is None or "@" in self.cluster.image

    def add(self, name: str, **inputs: Any) -> Any:
        """A task of the step `name` in the pipeline that is being built."""
        task = getattr(self.steps, name)(**inputs)
        task.set_display_name(SHOWN[name])
        task.set_caching_options(name in CACHED and self.cached)
        if self.cluster is None:
            if name != "report_state":
                task.set_retry(2, backoff_duration="2s", backoff_factor=2.0)
            return task
        _equip(task, name, self.cluster)
        return task


def _equip(task: Any, name: str, cluster: Cluster) -> None:
    need = cluster.training if name in ("train", "evaluate") else cluster.embedding
    if name not in ("train", "evaluate", "embed_shard", "export", "verify_parity"):
        need = cluster.small
    task.set_cpu_request(need.cpu).set_cpu_limit(need.cpu)
    task.set_memory_request(need.memory).set_memory_limit(need.memory)
    kubernetes.set_timeout(task, need.hours * 3600)
    if name != "report_state":
        task.set_retry(
            cluster.retries,
            backoff_duration=cluster.backoff,
            backoff_factor=cluster.backoff_factor,
            backoff_max_duration=cluster.backoff_max,
        )
    _secure(task)
    _name_image(task, cluster.image)
    _connect(task, cluster)
    _gpus(task, need, cluster)


def _secure(task: Any) -> None:
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    kubernetes.empty_dir_mount(task, "scratch", "/tmp")
    task.set_env_variable("HOME", "/tmp")


def _name_image(task: Any, image: str) -> None:
    """For the lineage records: a container cannot find out its own digest."""
    if "@" in image:
        task.set_env_variable(IMAGE_DIGEST, image.partition("@")[2])


def _connect(task: Any, cluster: Cluster) -> None:
    """The workspace and the secrets, by name; no value of a secret is in the compiled pipeline."""
    if cluster.claim:
        kubernetes.mount_pvc(task, cluster.claim, cluster.mount)
    if cluster.store_secret:
        kubernetes.use_secret_as_env(task, cluster.store_secret, dict(cluster.store_keys))
    task.set_env_variable("CTGI_S3_ENDPOINT", cluster.store_endpoint)
    task.set_env_variable("CTGI_S3_SECURE", "true" if cluster.store_secure else "false")
    keys = {"OPENAI_API_KEY": "OPENAI_API_KEY", "CTGI_RECONSTRUCTOR_KEY": "CTGI_RECONSTRUCTOR_KEY"}
    if cluster.model_secret:
        kubernetes.use_secret_as_env(task, cluster.model_secret, keys, optional=True)
    notify = {"CTGI_NOTIFY_URL": "CTGI_NOTIFY_URL"}
    if cluster.notify_secret:
        kubernetes.use_secret_as_env(task, cluster.notify_secret, notify, optional=True)


def _gpus(task: Any, need: Need, cluster: Cluster) -> None:
    if need.gpus:
        task.set_accelerator_type(cluster.accelerator).set_accelerator_limit(need.gpus)
        kubernetes.add_toleration(task, key=cluster.toleration, operator="Exists", effect="NoSchedule")
    if need.shm:  # the loader's processes hand batches over in shared memory; the default is 64 MB
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=need.shm)


def pipeline_config(cluster: Cluster | None) -> dsl.PipelineConfig:
    """How long finished pods stay."""
    if cluster is None:
        return dsl.PipelineConfig()
    return dsl.PipelineConfig(ttl_seconds_after_finished=cluster.keep_days * 86400)
