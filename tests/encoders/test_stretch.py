from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ctgi.encoders.stretch import equation_4_as_printed, stretch_positions, stretched_length

TABLE = np.random.default_rng(3).normal(size=(77, 6))


def long_clip(old: NDArray[np.float64], keep: int = 20) -> NDArray[np.float64]:
    """The loop of Long-CLIP's load_from_clip (model/longclip.py), in float64."""
    length = len(old)
    new = np.zeros((4 * length - 3 * keep, old.shape[1]))
    new[:keep] = old[:keep]
    for i in range(length - 1 - keep):
        for quarter in range(4):
            new[4 * i + quarter + keep] = (4 - quarter) * old[i + keep] / 4 + quarter * old[i + 1 + keep] / 4
    for quarter in range(4):
        new[4 * length - 3 * keep - 4 + quarter] = old[-1] + quarter * (old[-1] - old[-2]) / 4
    return new


def test_it_is_what_long_clip_does() -> None:
    got = stretch_positions(torch.from_numpy(TABLE))
    assert got.shape == (248, 6) and got.dtype == torch.float64
    np.testing.assert_allclose(got.numpy(), long_clip(TABLE), rtol=0, atol=1e-15)


def test_single_precision_stays_exact_where_rows_are_copied() -> None:
    table = torch.from_numpy(TABLE).float()
    got = stretch_positions(table)
    assert got.dtype == torch.float32
    assert torch.equal(got[:20], table[:20])
    assert torch.equal(got[20::4], table[20:])


@settings(deadline=None)
@given(
    length=st.integers(4, 60),
    ratio=st.integers(1, 6),
    slope=st.floats(-3, 3),
    data=st.data(),
)
def test_a_straight_line_stays_straight(length: int, ratio: int, slope: float, data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, length - 2))
    line = slope * torch.arange(length, dtype=torch.float64)[:, None]
    got = stretch_positions(line, kept, ratio)[:, 0]
    assert len(got) == stretched_length(length, kept, ratio)
    place = torch.arange(len(got), dtype=torch.float64)
    place = torch.where(place < kept, place, kept + (place - kept) / ratio)
    torch.testing.assert_close(got, slope * place, rtol=0, atol=1e-9)


def test_a_gradient_flows_to_every_row() -> None:
    table = torch.from_numpy(TABLE).requires_grad_()
    stretch_positions(table).sum().backward()
    assert table.grad is not None and (table.grad.abs() > 0).all()


@pytest.mark.parametrize("kept", [-1, 76, 77])
def test_too_few_rows_to_stretch_are_refused(kept: int) -> None:
    with pytest.raises(ValueError, match="cannot keep"):
        stretch_positions(torch.from_numpy(TABLE), kept)


def test_erratum_equation_4_as_printed_is_another_table() -> None:
    """What Eq. 4 says to the letter: why it is not what the model uses."""
    row_number = np.arange(1, 78, dtype=np.float64)[:, None]  # row PE(k) holds the number k
    literal = equation_4_as_printed(torch.from_numpy(row_number))[:, 0].numpy()
    meant = stretch_positions(torch.from_numpy(row_number))[:, 0].numpy()
    assert len(literal) == len(meant) == 248
    # The kept rows agree, and no other row does.
    np.testing.assert_array_equal(literal[:20], meant[:20])
    assert not np.isclose(literal[20:], meant[20:]).any()
    # Position 21 falls back to rows 5 and 6 with alpha 1/4; position 80 is row 20; the last is row 62.
    assert (literal[20], literal[79], literal[247]) == (5.25, 20, 62)
    assert literal.max() == 62
    # As meant, position 21 is row 21, and the table rises without a break.
    assert meant[20] == 21 and (np.diff(meant) > 0).all()
