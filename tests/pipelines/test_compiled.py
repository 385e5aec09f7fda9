"""The compiled pipelines: as the code says, valid, and with what a cluster needs in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ctgi.errors import CtgiError
from pipelines import compiling
from pipelines.catalog import PIPELINES
from pipelines.cluster import Cluster
from pipelines.graph import CACHED


@pytest.fixture(scope="module")
def compiled() -> dict[str, str]:
    return compiling.texts(Cluster())


def documents(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    spec, platform = yaml.safe_load_all(text)
    return spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def tasks(spec: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Every task of every (nested) graph: step and definition."""
    found = []
    for graph in [spec["root"], *spec["components"].values()]:
        for task in graph.get("dag", {}).get("tasks", {}).values():
            component = spec["components"][task["componentRef"]["name"]]
            if "executorLabel" in component:
                executor = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
                found.append((executor["command"][-1].removeprefix("components."), task))
    return found


def test_the_golden_files_are_what_the_code_says(compiled: dict[str, str]) -> None:
    """After a change: `ctgi pipeline compile`, and look at the difference."""
    for name, text in compiled.items():
        assert (compiling.HERE / name).read_text(encoding="utf-8") == text, f"{name}: compile again"
    assert {path.name for path in compiling.HERE.iterdir()} == set(compiled)


def test_a_changed_file_is_found(
    compiled: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in compiled.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(compiling, "texts", lambda *_: compiled)
    assert compiling.differences(tmp_path, Cluster()) == []
    (tmp_path / "ctgi_train.yaml").write_text("other", encoding="utf-8")
    (tmp_path / "trainjob.yaml").unlink()
    assert compiling.differences(tmp_path, Cluster()) == ["ctgi_train.yaml", "trainjob.yaml"]


@pytest.mark.parametrize("name", PIPELINES)
def test_kfp_reads_them_back(compiled: dict[str, str], name: str) -> None:
    from kfp import components

    component = components.load_component_from_text(compiled[f"{name}.yaml"])
    assert component.component_spec.inputs and component.pipeline_spec.sdk_version == "kfp-2.17.0"


@pytest.mark.parametrize("image", ["ctgi/pipeline:latest", "reg.example/ctgi:1@sha256:1"])
@pytest.mark.parametrize("name", PIPELINES)
def test_only_work_on_digests_is_cached_and_everything_is_tried_again(name: str, image: str) -> None:
    """Nothing is where the image itself may be another one tomorrow."""
    spec, _ = documents(compiling.text(name, Cluster(image=image)))
    for step, task in tasks(spec):
        cached = step in CACHED and "@" in image
        assert task["cachingOptions"].get("enableCache", False) == cached, step
        if step == "report_state":
            assert (
                "retryPolicy" not in task
                and task["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
            )
        else:
            assert task["retryPolicy"]["maxRetryCount"] == 5 and task["retryPolicy"]["backoffFactor"] == 2.0


def test_training_gets_its_gpu_its_shared_memory_and_its_place(compiled: dict[str, str]) -> None:
    spec, platform = documents(compiled["ctgi_train.yaml"])
    container = spec["deploymentSpec"]["executors"]["exec-train"]["container"]
    accelerator = container["resources"]["accelerator"]
    assert accelerator["resourceType"] == "nvidia.com/gpu" and accelerator["resourceCount"] == "1"
    assert platform["exec-train"]["tolerations"][0]["key"] == "nvidia.com/gpu"
    shm = [mount for mount in platform["exec-train"]["emptyDirMounts"] if mount["mountPath"] == "/dev/shm"]
    assert shm[0]["medium"] == "Memory"
    assert "tolerations" not in platform["exec-caption-shard"]


@pytest.mark.parametrize("name", PIPELINES)
def test_every_step_is_unprivileged_has_the_workspace_and_names_its_secrets(
    compiled: dict[str, str], name: str
) -> None:
    spec, platform = documents(compiled[f"{name}.yaml"])
    assert set(platform) == set(spec["deploymentSpec"]["executors"])
    for step in platform.values():
        assert step["securityContext"]["runAsNonRoot"] is True
        assert step["pvcMount"][0]["constant"] == "ctgi-work"
        assert {secret["secretName"] for secret in step["secretAsEnv"]} == {
            "mlpipeline-minio-artifact", "ctgi-models", "ctgi-notify"
        }  # fmt: skip
    for container in spec["deploymentSpec"]["executors"].values():
        names = {variable["name"] for variable in container["container"]["env"]}
        assert not {n for n in names if "KEY" in n or "SECRET" in n or "TOKEN" in n}


def test_the_gate_stands_before_what_is_published(compiled: dict[str, str]) -> None:
    spec, _ = documents(compiled["ctgi_refresh.yaml"])
    passed = [
        c for name, c in spec["components"].items() if "condition" in name and "publish" in str(c.get("dag"))
    ]
    inner = [c for c in passed if "publish" in c["dag"]["tasks"]]
    assert len(inner) == 1 and {"export", "verify-parity", "publish", "promote"} <= set(
        inner[0]["dag"]["tasks"]
    )
    outside = [step for graph in [spec["root"]] for step in graph["dag"]["tasks"]]
    assert "promote" not in outside and "publish" not in outside


@pytest.mark.parametrize("name", PIPELINES)
def test_the_kubernetes_resources_hold_the_very_same_pipeline(compiled: dict[str, str], name: str) -> None:
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    pipeline, version = yaml.safe_load_all(compiled[f"{name}.k8s.yaml"])
    assert [one["apiVersion"] for one in (pipeline, version)] == ["pipelines.kubeflow.org/v2beta1"] * 2
    assert (pipeline["kind"], version["kind"]) == ("Pipeline", "PipelineVersion")
    assert pipeline["metadata"]["name"] == name.replace("_", "-")
    assert version["metadata"]["name"] == compiling.version_name(name, compiled[f"{name}.yaml"])
    assert version["spec"]["pipelineName"] == pipeline["metadata"]["name"]
    spec, platform = yaml.safe_load_all(compiled[f"{name}.yaml"])
    assert version["spec"]["pipelineSpec"] == spec and version["spec"]["platformSpec"] == platform
    parsed = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())  # unknown fields are refused
    assert parsed.pipeline_info.name == name.replace("_", "-")


def test_another_image_is_another_version_of_the_pipeline(compiled: dict[str, str]) -> None:
    """A cluster refuses a version of a name that it has whose specification is another one."""

    def version(cluster: Cluster) -> str:
        text = compiling.manifest("ctgi_gallery", cluster, compiling.text("ctgi_gallery", cluster))
        return str(list(yaml.safe_load_all(text))[1]["metadata"]["name"])

    before = list(yaml.safe_load_all(compiled["ctgi_gallery.k8s.yaml"]))[1]["metadata"]["name"]
    others = [version(Cluster(image="ctgi/pipeline@sha256:1")), version(Cluster(retries=4))]
    assert version(Cluster()) == before and len({before, *others}) == 3
    assert all(re.fullmatch(r"ctgi-gallery-[a-z0-9.-]+-[0-9a-f]{8}", one) for one in [before, *others])


def test_the_trainjob(compiled: dict[str, str]) -> None:
    job = yaml.safe_load(compiled["trainjob.yaml"])
    assert job["apiVersion"] == "trainer.kubeflow.org/v1alpha1"
    assert job["kind"] == "TrainJob" and job["spec"]["trainer"]["numNodes"] == 2


def test_a_cluster_without_gpus_and_without_a_claim(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(
        "claim: ''\ntraining: {gpus: 0, shm: ''}\nimage: reg.example/ctgi@sha256:1\n", encoding="utf-8"
    )
    spec, platform = documents(compiling.text("ctgi_train", Cluster.read(file)))
    train = spec["deploymentSpec"]["executors"]["exec-train"]["container"]
    assert "accelerator" not in train["resources"] and train["image"] == "reg.example/ctgi@sha256:1"
    assert {"name": "CTGI_IMAGE_DIGEST", "value": "sha256:1"} in train["env"]  # for the lineage records
    assert all("pvcMount" not in step for step in platform.values())


def test_numbers_that_yaml_reads_as_such_and_secrets_that_are_none(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(
        "small: {cpu: 2, memory: 1000000}\nbackoff_factor: 3\nstore_secret: ''\nmodel_secret: ''\n",
        encoding="utf-8",
    )
    cluster = Cluster.read(file)
    assert (cluster.small.cpu, cluster.small.memory, cluster.backoff_factor) == ("2", "1000000", 3.0)
    _, platform = documents(compiling.text("ctgi_gallery", cluster))
    for step in platform.values():
        assert [secret["secretName"] for secret in step["secretAsEnv"]] == ["ctgi-notify"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("imag: x", "no setting 'imag'"),
        ("retries: many", "retries"),
        ("retries: 99", "retries 99"),
        ("backoff: 30", "backoff"),
        ("backoff: soon", "duration"),
        ("parallelism: 500", "parallelism"),
        ("training: 3", "mapping"),
        ("training: {gpu: 1}", "no setting 'gpu'"),
        ("small: {cpu: many}", "small: cpu 'many'"),
        ("small: {cpu: -1}", "small: cpu '-1'"),
        ("small: {memory: lots}", "small: memory 'lots'"),
        ("training: {shm: lots}", "training: shm 'lots'"),
        ("training: {gpus: two}", "training: gpus 'two'"),
        ("training: {gpus: -1}", "-1 GPUs"),
        ("training: {hours: 1.5}", "training: hours 1.5"),
        ("training: {hours: true}", "training: hours True"),
        ("store_keys: {accesskey: 5}", "store_keys 'accesskey'"),
        ("store_keys: [accesskey]", "store_keys"),
        ("accelerator: ''", "accelerator"),
        ("mount: data", "mount"),
        ("keep_days: -1", "keep_days"),
        ("backoff_factor: 0.5", "backoff_factor"),
        ("backoff_factor: .nan", "backoff_factor"),
        ("store_secure: 3", "store_secure"),
        ("image: 'a b'", "image"),
        ("- 1", "mapping"),
        ("a: [", "cannot be read"),
    ],
)
def test_cluster_settings_that_are_wrong(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(CtgiError, match=said):
        Cluster.read(file)
