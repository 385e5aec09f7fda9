from __future__ import annotations

import pytest

CONFIG = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": [384, 128], "patch_size": 32, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {"context_length": 248, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="session")
def encoder():
    import torch

    from ctgi.encoders.loading import load_encoder

    torch.manual_seed(0)
    encoder = load_encoder(CONFIG, None)
    with torch.no_grad():  # fresh weights hardly look at what they are given
        for name, parameter in encoder.named_parameters():
            if parameter.ndim > 1 and "in_proj" not in name:
                parameter.mul_(20 if "embedding" in name else 4)
    return encoder


@pytest.fixture(scope="session")
def exported(encoder, tmp_path_factory):
    """The folder of a release and the lines that its export printed."""
    from ctgi.encoders.pixels import preprocess_spec
    from ctgi.export.publish import export_release

    folder, lines = tmp_path_factory.mktemp("releases") / "tiny", []
    export_release(
        encoder,
        folder,
        name="tiny",
        version="3",
        preprocess=preprocess_spec(),
        metrics={"R@1": 12.5},
        lineage={"data": "none"},
        report=lines.append,
    )
    return folder, lines
