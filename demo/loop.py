"""The demo's stages in their order: what each is made from, and what does its work.

Nothing heavy is imported before a stage needs it, so a run that finds everything done takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.chat_models import ChatModel
from demo.pedestrians.world import WORLD_VERSION
from demo.results import TITLES
from demo.settings import Settings
from demo.stages import Record, Stages
from demo.table import RELEASED, VARIANTS

#: Part of every key: raise it when the code of the demo changes what comes out.
_CODE = 1


@dataclass(frozen=True)
class Loop:
    """One run of the demo; a method for each part, to be called in this order: learn, publish, measure."""

    stages: Stages
    settings: Settings
    clip: Path
    clip_digest: str
    threads: int
    chat: ChatModel

    @property
    def out(self) -> Path:
        return self.stages.out

    def stage(
        self, name: str, inputs: Mapping[str, Any], work: Any, folder: str = "", outputs: tuple[str, ...] = ()
    ) -> Record:
        keyed = {"code": _CODE, **inputs}
        return self.stages.run(name, TITLES[name], keyed, work, folder=folder or name, outputs=outputs)

    def learn(self) -> None:
        """World, small models' scores, captions, trainings."""
        s, out, world = self.settings, self.out, self.out / "world"
        make = {"seed": s.seed, "identities": s.identities, "pictures": s.pictures, "version": WORLD_VERSION}
        drawn = self.stage(
            "world",
            make,
            lambda place: _learn().render_world(place, s, self.threads),
            outputs=("truth/truth.json", "truth/queries.json", "data_captions.json"),
        )
        self.stage("score", {"model": self.chat.digest, "people": s.scored_people}, self._score)
        told = self.stage(
            "captions",
            {
                "world": drawn.digest,
                "model": self.chat.digest,
                "rounds": s.rounds,
                "least": s.caption_min_probability,
                "method": _caption_recipe(),
            },
            lambda place: _learn().caption(place, world, s, self.chat),
            outputs=("captions.parquet",),
        )
        for variant in VARIANTS[1:]:
            text = "caption" if variant.mtg else "static_caption"
            context = 248 if variant.pes else 77

            def work(place: Path, text: Any = text, context: int = context) -> dict[str, Any]:
                return dict(_learn().train(place, out / "captions", world, self.clip, s, text, context))

            inputs = {
                "captions": told.digest,
                "world": drawn.digest,
                "clip": self.clip_digest,
                "text": text,
                "context": context,
                "options": [s.epochs, s.batch_size, s.base_lr],
            }
            name = f"train-{variant.name}"
            self.stage(
                name, inputs, work, f"train/{variant.name}", ("best/config.json", "best/model.safetensors")
            )

    def publish(self) -> None:
        """Export, calibration on val, gallery."""
        s, out, records = self.settings, self.out, self.stages.records
        trained = records[f"train-{RELEASED}"]
        lineage = {
            "weights": trained.digest,
            "captions": records["captions"].digest,
            "clip": self.clip_digest,
        }
        made = self.stage(
            "export",
            lineage,
            lambda place: _learn().export(
                place, out / "train" / RELEASED, trained.result["metrics"], lineage
            ),
            "release",
            ("text_encoder.onnx", "image_encoder.onnx", "tokenizer.json", "preprocess.json"),
        )
        chosen = self.stage(
            "choose",
            {
                "release": made.digest,
                "queries": s.val_queries,
                "grid": [s.lambdas, s.min_probabilities],
                **self.searching(),
            },
            self._choose,
        )
        # Beside the stage rather than in it: a release that was exported again needs it again.
        _record_choice(out / "release", chosen.result)
        self.stage(
            "index",
            {"fingerprint": made.result["fingerprint"], "world": records["world"].digest},
            lambda place: _learn().index(place, out / "release", out / "world", self.threads),
            "gallery",
            ("manifest.json",),
        )

    def measure(self) -> None:
        """The rows of the table, then three searches."""
        s, out, records = self.settings, self.out, self.stages.records
        choice = {name: records["choose"].result[name] for name in ("lam", "min_probability")}
        for variant in VARIANTS:
            model = (
                self.clip_digest if variant.name == "pretrained" else records[f"train-{variant.name}"].digest
            )

            def work(place: Path, name: str = variant.name) -> Mapping[str, Any]:
                from demo import measure

                return measure.measure(out / "world", self._encoders(name), s, choice, self.chat)

            inputs = {"encoder": model, "choice": choice, "queries": s.test_queries, **self.searching()}
            self.stage(f"measure-{variant.name}", inputs, work, f"measure/{variant.name}")

        def searches(place: Path) -> Mapping[str, Any]:
            from demo.answer import answer

            return answer(place, out / "world", out / "release", out / "gallery", s, self.chat, self.threads)

        inputs = {
            "release": records["export"].digest,
            "gallery": records["index"].digest,
            "choice": choice,
            "queries": s.test_queries,
            "alone": s.alone,
            **self.searching(),
        }
        self.stage("searches", inputs, searches, outputs=("figure3.png",))

    def searching(self) -> dict[str, Any]:
        """What every stage that searches depends on besides its model."""
        s = self.settings
        return {
            "world": self.stages.records["world"].digest,
            "model": self.chat.digest,
            "mti": [s.k, s.xi, s.concurrency],
            "method": _caption_recipe(),
        }

    def interact(self) -> None:
        """The interaction beyond the paper: dossiers, parameters, its own table."""
        from demo.interaction.work import interact

        interact(self)

    def released(self) -> Any:
        """The encoders of the release."""
        return self._encoders(RELEASED)

    def _score(self, place: Path) -> Mapping[str, Any]:
        import asyncio

        from demo.models.score import score

        return asyncio.run(score(self.chat.url, self.chat.name, self.settings.scored_people))

    def _choose(self, place: Path) -> Mapping[str, Any]:
        from demo import measure

        encoders = self._encoders(RELEASED)
        scale = measure.fitted_scale(self.out / "world", encoders)
        chosen = measure.choose_on_val(self.out / "world", encoders, scale, self.settings, self.chat)
        return {**chosen, "calibration": scale.to_dict()}

    def _encoders(self, variant: str) -> Any:
        """The release itself where it is the model in question, a checkpoint in torch otherwise."""
        if variant == RELEASED:
            from ctgi.export.runtime import OnnxEncoders

            return OnnxEncoders(self.out / "release", threads=self.threads)
        import torch

        from ctgi.cli.encoders import CheckpointEncoders

        torch.set_num_threads(self.threads)
        return CheckpointEncoders(
            self.clip if variant == "pretrained" else self.out / "train" / variant / "best"
        )


def _learn() -> Any:
    from demo import learn

    return learn


def _caption_recipe() -> str:
    """Prompts, questions and word lists: whatever changes them changes captions and searches."""
    from ctgi.captioning.composer import Composer
    from ctgi.captioning.interview import interview_version
    from ctgi.captioning.pool import default_pool

    pool = default_pool()
    return f"{interview_version()} | {pool.version} | {Composer(pool).name}"


def _record_choice(release: Path, chosen: Mapping[str, Any]) -> None:
    """What was chosen on val for the paper's MTI, in the release, beside what else it says."""
    from ctgi.export.release import Release, record_mti

    names = ("calibration", "lam", "min_probability")
    facts = {**{name: chosen[name] for name in names}, "chosen_on": "val", "queries": chosen["queries"]}
    held = Release.load(release, verify=False).mti
    if {**held, **facts} != held:
        record_mti(release, {**held, **facts})
