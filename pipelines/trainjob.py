"""Training over several nodes: a TrainJob of the Kubeflow Trainer that runs the same command.

`kubectl create -f trainjob.yaml` in place of the pipeline's own training step, for what takes one node too
long. The step leaves captions and settings in the run's folder of the workspace and prints its command; the
run goes on there, and the pipeline, run again, finds it finished. How many processes, and where the first of
them is, the runtime tells torchrun by its PET_ variables. Source: trainer.kubeflow.org/v1alpha1, runtime
`torch-distributed` (Kubeflow Trainer 2.2, which dropped numProcPerNode and podTemplateOverrides).
"""

from __future__ import annotations

from typing import Any

from pipelines.cluster import Cluster
from pipelines.graph import USER

NODES = 2


def trainjob(cluster: Cluster) -> str:
    """The manifest; what stands in capitals is filled in from the line that the training step prints."""
    import yaml

    need = cluster.training
    means = {"cpu": need.cpu, "memory": need.memory, cluster.accelerator: str(max(1, need.gpus))}
    volumes: list[dict[str, Any]] = [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": need.shm or "8Gi"}}
    ]
    mounts: list[dict[str, Any]] = [{"name": "shm", "mountPath": "/dev/shm"}]
    if cluster.claim:
        volumes.append({"name": "work", "persistentVolumeClaim": {"claimName": cluster.claim}})
        mounts.append({"name": "work", "mountPath": cluster.mount})
    pod = {
        "tolerations": [{"key": cluster.toleration, "operator": "Exists", "effect": "NoSchedule"}],
        "securityContext": {"runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER},
        "containers": [{"name": "node", "volumeMounts": mounts}],
        "volumes": volumes,
    }
    job = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"generateName": "ctgi-train-"},
        "spec": {
            "runtimeRef": {"name": "torch-distributed"},
            "trainer": {
                "image": cluster.image,
                "numNodes": NODES,
                "command": ["torchrun"],
                "args": [
                    "-m",
                    "ctgi",
                    "train",
                    "RUN/captions.parquet",
                    "--out=RUN",
                    "--config=RUN/settings.yaml",
                    "--pictures=PICTURES",
                    "--encoder=ENCODER",
                    "--val=DATA",
                    "--layout=LAYOUT",
                ],
                "resourcesPerNode": {"requests": means, "limits": means},
            },
            "runtimePatches": [
                {
                    "manager": "ctgi.dev/pipelines",
                    "trainingRuntimeSpec": {
                        "template": {
                            "spec": {
                                "replicatedJobs": [
                                    {
                                        "name": "node",
                                        "template": {"spec": {"template": {"spec": pod}}},
                                    }
                                ]
                            }
                        }
                    },
                }
            ],
        },
    }
    return yaml.safe_dump(job, sort_keys=False)
