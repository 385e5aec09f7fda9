"""Serves models of `backend: "onnxruntime"` in a Triton that has only the Python backend.

Triton takes a `model.py` in the folder of a backend for the backend itself ("Python-based backends"). Tensors
are exchanged by DLPack: the library that comes with that Triton was built for numpy 1.
"""

import json
import os
import sys

sys.path[:0] = os.environ["CTGI_SITE_PACKAGES"].split(os.pathsep)

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
import triton_python_backend_utils as pb_utils  # noqa: E402


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        return config

    def initialize(self, args):
        config = json.loads(args["model_config"])
        [self.entry] = [entry["name"] for entry in config["input"]]
        [self.out] = [out["name"] for out in config["output"]]
        path = os.path.join(args["model_repository"], args["model_version"], "model.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        tensor = pb_utils.get_input_tensor_by_name(request, self.entry)
        [vectors] = self.session.run([self.out], {self.entry: np.array(np.from_dlpack(tensor))})
        return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack(self.out, vectors)])
