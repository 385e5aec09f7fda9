"""A training step of IRRA and of RDE against a straightforward implementation of the same losses.

The plain way is written from the published code: captions padded to 248 tokens, every block's attention map
computed and kept, QuickGELU as open_clip has it, the masked caption sent through the text tower a second time
for MLM, and the score of every word at every place. Both ways have the same weights, masks and losses; that
these agree to 1e-5 is checked.

`python -m benchmarks.training_step --tower full --batch 8` takes ViT-B/16's towers instead of the small ones
(a quarter of the width, a third of the layers). In the small towers the word head, 49,408 wide whatever the
towers are, weighs more than in the large ones, which flatters IRRA's ratio. The plain IRRA step at batch 64
needs over 13 GB for the words' scores alone, so its batch is 16 unless one is named.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.measure import Ratio, peak_memory, side_by_side
from ctgi.encoders.dual import DualEncoder, unit
from ctgi.encoders.loading import load_encoder
from ctgi.encoders.tokens import tokenize
from ctgi.errors import CtgiError
from ctgi.training.config import TrainConfig
from ctgi.training.loader import Batch
from ctgi.training.objectives.build import build_encoder, build_objective
from ctgi.training.objectives.draws import draw_key
from ctgi.training.objectives.masking import mask_captions
from ctgi.training.objectives.sdm import sdm_loss
from ctgi.training.optimiser import make_optimiser

CONTEXT = 248
Step = Callable[[], dict[str, Tensor]]
SENTENCES = (
    "A woman in a red jacket and blue trousers.",
    "She has long black hair and carries a brown rucksack over one shoulder.",
    "The jacket is plain and has long sleeves.",
    "She wears white sneakers and sunglasses, and holds a phone in her left hand.",
    "There is a small logo on the chest.",
)


def config(tower: str) -> dict[str, Any]:
    """ViT-B/16 with 248 text positions, or a small one of the same proportions."""
    widths, layers, dim = {"full": ((768, 512), 12, 512), "small": ((192, 128), 4, 128)}[tower]
    return {
        "embed_dim": dim,
        "quick_gelu": True,
        "vision_cfg": {"image_size": [384, 128], "patch_size": 16, "width": widths[0], "layers": layers},
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": 49408,
            "width": widths[1],
            "heads": widths[1] // 64,
            "layers": layers,
        },
    }


def captions(count: int) -> list[str]:
    """As long as MTG's: three to five sentences, 37 to 65 tokens."""
    return [" ".join(SENTENCES[n % 3 : n % 3 + 3 + n % 3]) + f" Number {n}." for n in range(count)]


class Trained:
    """A model with its batch and optimiser, to be stepped in our way or in the plain one."""

    def __init__(self, name: str, tower: str, size: int) -> None:
        torch.manual_seed(0)
        settings = TrainConfig(augment=False)
        encoder = build_encoder(name, load_encoder(config(tower), None), settings)
        objective = build_objective(name, encoder, settings, size, size)
        self.model = nn.ModuleDict({"encoder": encoder, "objective": objective})
        self.encoder, self.objective = encoder, objective
        self.optimiser = make_optimiser(self.model, settings)
        self.batch = Batch(
            pixels=torch.randn(size, 3, 384, 128),
            ids=tokenize(captions(size), CONTEXT),
            identity=torch.arange(size) // 2,
            pair=torch.arange(size),
            weight=torch.ones(size),
        )

    def step(self, losses: Step) -> dict[str, float]:
        """Forward, backward, optimiser; the losses."""
        torch.manual_seed(1)  # the same masks every time
        values = losses()
        self.optimiser.zero_grad(set_to_none=True)
        torch.stack(list(values.values())).sum().backward()
        self.optimiser.step()
        return {name: value.item() for name, value in values.items()}

    def ours(self) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.objective(self.encoder, self.batch)
        return losses

    def plain(self) -> dict[str, Tensor]:
        ids = functional.pad(self.batch.ids, (0, CONTEXT - self.batch.ids.shape[1]))
        if hasattr(self.objective, "words"):
            return plain_irra(self.encoder, self.objective, self.batch, ids)
        return plain_rde(self.encoder, self.objective, self.batch, ids)


def blocks(transformer: Any, x: Tensor, mask: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """All blocks with the attention map of each, averaged over the heads."""
    maps = []
    for block in transformer.resblocks:
        h = block.ln_1(x)
        mixed, attention = block.attn(h, h, h, attn_mask=mask, need_weights=True)
        maps.append(attention)
        x = x + mixed
        hidden = block.mlp.c_fc(block.ln_2(x))
        x = x + block.mlp.c_proj(hidden * torch.sigmoid(1.702 * hidden))
    return x, maps


def plain_image(encoder: DualEncoder, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
    visual: Any = encoder.clip.visual
    x, maps = blocks(visual.transformer, visual._embeds(pixels), None)
    return visual.ln_post(x) @ visual.proj, maps


def plain_text(encoder: DualEncoder, ids: Tensor) -> tuple[Tensor, list[Tensor]]:
    clip = encoder.clip
    x, maps = blocks(clip.transformer, clip.token_embedding(ids) + clip.positional_embedding, clip.attn_mask)
    return clip.ln_final(x) @ clip.text_projection, maps


def plain_irra(encoder: DualEncoder, objective: Any, batch: Batch, ids: Tensor) -> dict[str, Tensor]:
    masked = mask_captions(ids, batch.pair, draw_key())
    rows, end = torch.arange(len(ids)), ids.argmax(dim=1)
    image, _image_maps = plain_image(encoder, batch.pixels)
    read, _text_maps = plain_text(encoder, masked.ids)
    guessed_from, _mlm_maps = plain_text(encoder, masked.ids)
    text = read[rows, end]
    cross, head = objective.words.relation, objective.words.mlm_head
    keys = cross.ln_pre_i(image)
    x, _cross_map = cross.cross_attn(cross.ln_pre_t(guessed_from), keys, keys, need_weights=True)
    padding = torch.zeros(len(ids), 1, CONTEXT).masked_fill(
        (torch.arange(CONTEXT) > end.unsqueeze(1)).unsqueeze(1), -torch.inf
    )
    mask = padding.expand(-1, CONTEXT, -1).repeat_interleave(cross.cross_attn.num_heads, dim=0)
    x, _cross_maps = blocks(cross.cross_modal_transformer, x, mask)
    scores = head(cross.ln_post(x))
    labels = ids.where(masked.picked, -100)
    classifier = objective.identity.classifier
    who = [functional.cross_entropy(classifier(side), batch.identity) for side in (image[:, 0], text)]
    return {
        "sdm": sdm_loss(unit(text), unit(image[:, 0]), batch.identity),
        "id": (who[0] + who[1]) / 2,
        "mlm": functional.cross_entropy(scores.flatten(0, 1), labels.flatten(), ignore_index=-100),
    }


def plain_rde(encoder: Any, objective: Any, batch: Batch, ids: Tensor) -> dict[str, Tensor]:
    rows, end = torch.arange(len(ids)), ids.argmax(dim=1)
    image, image_maps = plain_image(encoder, batch.pixels)
    text, text_maps = plain_text(encoder, ids)
    seen_by_image = torch.cat([torch.full((len(ids), 1), -1.0), image_maps[-1][:, 0, 1:]], dim=1)
    place = torch.arange(CONTEXT)
    own = (place >= 1) & (place < end.unsqueeze(1))
    seen_by_text = text_maps[-1][rows, end].masked_fill(~own, -1.0)
    count = (own.sum(dim=1) * 3 // 10).clamp(min=1)
    patches = (image.shape[1] - 1) * 3 // 10
    image_tse = encoder.image_selection(image, seen_by_image, torch.full_like(count, patches), patches)
    text_tse = encoder.text_selection(text, seen_by_text, count, int((CONTEXT - 2) * 0.3))
    same = batch.identity[:, None] == batch.identity[None, :]

    def tal(similarity: Tensor) -> Tensor:
        raised = (similarity / objective.tau).exp()
        alpha = (raised * same / (raised * same).sum(dim=1, keepdim=True)).detach()
        strangers = objective.tau * (raised * ~same).sum(dim=1).log()
        return (objective.margin - (alpha * similarity).sum(dim=1) + strangers).clamp(min=0).sum()

    bge, tse = unit(text[rows, end]) @ unit(image[:, 0]).T, unit(text_tse) @ unit(image_tse).T
    return {"bge": tal(bge) + tal(bge.T), "tse": tal(tse) + tal(tse.T)}


def check_losses(trained: Trained) -> float:
    """The largest relative difference of a loss; fails above 1e-5."""
    torch.manual_seed(1)
    ours = trained.ours()
    torch.manual_seed(1)
    plain = trained.plain()
    worst = max(abs(ours[name].item() / plain[name].item() - 1) for name in plain)
    assert ours.keys() == plain.keys() and worst <= 1e-5, f"the losses differ by {worst:.1e}"
    return worst


def timed(name: str, tower: str, size: int, repeats: int, threads: int, answer: Any) -> None:
    """Seconds of a step in our way and in the plain one, and how far their losses differ."""
    torch.set_num_threads(threads)
    trained = Trained(name, tower, size)
    worst = check_losses(trained)
    seconds = side_by_side(lambda: trained.step(trained.ours), lambda: trained.step(trained.plain), repeats)
    answer.put((*seconds, worst, trained.batch.ids.shape[1]))


def memory_of(name: str, tower: str, size: int, way: str, threads: int, answer: Any) -> None:
    """Megabytes that two steps need beyond the model and the batch."""
    torch.set_num_threads(threads)
    trained = Trained(name, tower, size)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    for _ in range(2):
        trained.step(getattr(trained, way))
    answer.put((peak_memory() - before) / 1e6)


def apart(work: Callable[..., None], *given: Any) -> Any:
    """What `work` answers in a process of its own, whose memory is its own too."""
    spawn = multiprocessing.get_context("spawn")
    answer = spawn.SimpleQueue()
    process = spawn.Process(target=work, args=(*given, torch.get_num_threads(), answer))
    process.start()
    process.join()
    if process.exitcode != 0:
        raise CtgiError(f"{work.__name__} of {given} ended with {process.exitcode}")
    return answer.get()


def check_memory(name: str, tower: str, size: int) -> None:
    """Refuse what would drive the machine into swapping. The scores of all words come four times over: twice
    forward, twice backward."""
    scores = 4 * size * CONTEXT * 49408 * 4 if name == "irra" else 0
    needed = scores + {"full": 4e9 + 4e8 * size, "small": 5e8 + 3e7 * size}[tower]
    line = next(x for x in Path("/proc/meminfo").read_text().splitlines() if x.startswith("MemAvailable"))
    available = int(line.split()[1]) * 1024
    if needed > 0.8 * available:
        raise CtgiError(
            f"{name}, {tower} towers, batch {size}: the plain step needs about {needed / 1e9:.0f} GB and "
            f"{available / 1e9:.0f} GB are free; take a smaller batch"
        )


def measure(out: Path, tower: str = "small", size: int | None = None, repeats: int = 2) -> list[Ratio]:
    """Seconds and memory of a step of both models. `out` is not used: nothing is kept."""
    ratios = []
    for name, usual in (("rde", 64), ("irra", 16)):
        batch = size or usual
        check_memory(name, tower, batch)
        ours, plain, worst, longest = apart(timed, name, tower, batch, repeats)
        facts = {
            "tower": tower,
            "batch": batch,
            "longest caption": longest,
            "largest relative difference of a loss": worst,
        }
        title = f"{name}, {tower} towers, batch {batch}"
        ratios.append(Ratio(f"training step: {title}", ours, plain, facts=facts))
        peaks = [apart(memory_of, name, tower, batch, way) for way in ("ours", "plain")]
        ratios.append(Ratio(f"peak memory of a step: {title}", *peaks, unit="MB", facts=facts))
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_step", description=__doc__)
    parser.add_argument("--tower", choices=("small", "full"), default="small")
    parser.add_argument("--batch", type=int, help="default: 64 for RDE, 16 for IRRA")
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    for ratio in measure(Path("out/bench"), options.tower, options.batch, options.repeats):
        print(ratio, dict(ratio.facts), flush=True)


if __name__ == "__main__":
    main()
