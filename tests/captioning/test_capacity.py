from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctgi.captioning.capacity import EFFICIENCY, START_UP, Replica, plan_run, storage
from ctgi.captioning.estimate import Prices, Tokens, interview_tokens, measured_tokens, reconstruction_tokens
from ctgi.captioning.pool import default_pool
from ctgi.captioning.transcript import Transcript

TOKENS = Tokens(prompt=1800.0, fresh=400.0, completion=100.0)


def record(prompt: int, completion: int) -> Transcript:
    return Transcript("id", "a.png", None, "T_s", "T_e", (), "m", "v", "r", 7, prompt, completion, 1.0)


def test_by_hand() -> None:
    replica = Replica(prompt_rate=20_000, completion_rate=500, gpus=2, hour=3.0)
    # 400 / 20000 + 100 / 500 = 0.22 s a picture
    assert replica.rate(TOKENS) == pytest.approx(1 / 0.22)
    run = plan_run(40_000, 4, TOKENS, 7, replica, Prices(2.5, 10.0), (400.0, 100.0))
    busy = 40_000 * 0.22 / 4 / 0.95
    assert EFFICIENCY == 0.95 and START_UP == 300
    assert run.seconds == pytest.approx(busy + 300)
    assert run.gpu_hours == pytest.approx((busy + 300) * 4 * 2 / 3600)
    assert run.gpu_cost == pytest.approx(run.gpu_hours * 3)
    assert run.reconstructor_cost == pytest.approx(40_000 * (400 * 2.5 + 100 * 10) / 1e6)
    assert run.cost == pytest.approx(run.gpu_cost + run.reconstructor_cost)


def test_what_was_measured_takes_the_place_of_token_rates() -> None:
    assert Replica(prompt_rate=1.0, completion_rate=1.0, pictures_per_second=5.2).rate(TOKENS) == 5.2


def test_caption_processes_follow_the_calls() -> None:
    replica = Replica(pictures_per_second=10.0)
    few, many = (plan_run(10**6, count, TOKENS, 7, replica).processes for count in (1, 64))
    # 10 pictures/s x 0.95 x 7 calls x 3.9 ms = 0.26 of a core
    assert (few, many) == (1, 17)


@given(pictures=st.integers(1, 10**9), replicas=st.integers(1, 512))
def test_more_replicas_save_time_and_cost_only_their_start(pictures: int, replicas: int) -> None:
    replica = Replica(hour=2.0)
    one, more = (plan_run(pictures, count, TOKENS, 7, replica) for count in (1, replicas))
    assert more.seconds <= one.seconds
    assert more.gpu_hours - one.gpu_hours == pytest.approx(
        (replicas - 1) * START_UP / 3600, abs=1e-6 * one.gpu_hours + 1e-9
    )


def test_fresh_tokens_are_those_of_the_last_turn() -> None:
    pool = default_pool()
    alone, six = (interview_tokens(70, rounds, pool) for rounds in (0, 6))
    assert alone.fresh == alone.prompt  # one turn: nothing was sent before
    assert six.fresh < six.prompt / 4
    # the picture is sent in each of the seven turns and computed in one
    larger = interview_tokens(170, 6, pool)
    assert larger.prompt - six.prompt == pytest.approx(700)
    assert larger.fresh - six.fresh == pytest.approx(100)


def test_records_replace_the_rule() -> None:
    rule = interview_tokens(70, 6, default_pool())
    found = measured_tokens([record(1000, 50), record(1400, 70)], rule)
    assert (found.prompt, found.completion) == (1200, 60)
    assert found.fresh == pytest.approx(1200 * rule.fresh / rule.prompt)


def test_reconstruction_grows_with_the_questions() -> None:
    pool = default_pool()
    (few, written), (many, also) = (reconstruction_tokens(rounds, pool) for rounds in (2, 6))
    assert many > few and written == also > 0


def test_storage_is_by_the_picture() -> None:
    found = storage(1000, 7, 15_000, 512)
    assert found["pictures"] == 15e6 and found["vectors"] == 1000 * 512 * 4
    assert found["dossiers"] <= 1000 * 2048
    assert {kind: 3 * size for kind, size in found.items()} == storage(3000, 7, 15_000, 512)
