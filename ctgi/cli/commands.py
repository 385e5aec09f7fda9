"""The commands of `ctgi`, in the order of its help: each is the module of its name in this folder."""

COMMANDS = {
    "caption": "interview pictures and write pseudo-captions (MTG)",
    "shards": "write a training set as WebDataset shards, for sets beyond one disk",
    "train": "fine-tune a retrieval model on captions",
    "evaluate": "R@k, mAP and mINP with confidence intervals",
    "ablate": "the table none, MTG, MTI, both, with and without PES",
    "export": "turn a trained model into a release (ONNX)",
    "release": "publish, fetch, list, pin, check and collect releases in an object store",
    "plan": "GPU hours, time and cost of captioning a set, for your numbers",
    "index": "embed a folder of pictures into a gallery",
    "pipeline": "compile, run, submit and schedule the pipelines (Kubeflow)",
    "search": "find people in a gallery by describing them",
    "tune": "choose MTI's parameters on val and write them into the release",
}
