"""Rendered people: equal seeds give equal pictures, the same person from every side, truth one can see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from demo.pedestrians.attributes import ATTRIBUTES, COLOURS, Person, sample_person
from demo.pedestrians.camera import VIEWS, View, sample_view
from demo.pedestrians.parts import PARTS
from demo.pedestrians.render import HEIGHT, WIDTH, render, render_parts
from demo.pedestrians.visibility import CANNOT_TELL, visible_truth

#: One look for everyone; a test changes what it is about. No thing hides another.
PLAIN = {
    "gender": "man",
    "hair_length": "short",
    "hair_colour": "brown",
    "upper_type": "t-shirt",
    "upper_colour": "white",
    "pattern": "plain",
    "sleeves": "short",
    "logo": "no",
    "lower_type": "trousers",
    "lower_colour": "grey",
    "shoe_type": "sneakers",
    "shoe_colour": "black",
    "bag_type": "none",
    "bag_colour": "red",
    "hat_type": "none",
    "hat_colour": "red",
    "glasses": "none",
    "scarf": "none",
    "scarf_colour": "red",
    "held": "nothing",
    "action": "standing",
}


def someone(**look: str) -> Person:
    assert set(look) <= set(ATTRIBUTES) and all(value in ATTRIBUTES[name] for name, value in look.items())
    return Person({**PLAIN, **look}, skin=(0.6, 0.42, 0.3), stature=1.0, build=1.0)


def seen_from(degrees: float, **changes: object) -> View:
    """A clear view under even light, without blur, noise or anything in front."""
    view = View(
        name="front",
        yaw=float(np.deg2rad(degrees)),
        pitch=0.08,
        height=0.9,
        shift=(0.0, 0.0),
        phase=0.5,
        light=(0.0, 0.0, 1.0),
        ambient=0.9,
        exposure=1.0,
        tint=(1.0, 1.0, 1.0),
        blur=0.0,
        noise=0.0,
        occluder="none",
        seed=3,
    )
    return replace(view, **changes)  # type: ignore[arg-type]


def pixels_of(part: str, parts: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return parts == PARTS.index(part)


def nearest_colour(pixels: NDArray[np.uint8]) -> str:
    """The named colour that most of ``pixels`` (N, 3) are nearest to in hue and lightness."""
    named = np.array(list(COLOURS.values())) * 255
    nearest = np.linalg.norm(pixels[:, None].astype(float) - named, axis=2).argmin(1)
    return list(COLOURS)[int(np.bincount(nearest).argmax())]


def test_equal_seeds_give_equal_pictures_and_others_do_not() -> None:
    def drawn(seed: int) -> tuple[NDArray[np.uint8], dict[str, str | None], NDArray[np.uint8]]:
        rng = np.random.default_rng(seed)
        return render_parts(sample_person(rng), sample_view(rng))

    for one, again in zip(drawn(11), drawn(11), strict=True):
        np.testing.assert_equal(one, again)
    assert (drawn(11)[0] != drawn(12)[0]).mean() > 0.5


def test_rendering_leaves_global_randomness_alone() -> None:
    np.random.seed(4)
    expected = np.random.default_rng(0).integers(9), np.random.rand()
    np.random.seed(4)
    render(someone(), seen_from(0))
    assert (np.random.default_rng(0).integers(9), np.random.rand()) == expected


@pytest.mark.parametrize("name", list(VIEWS))
def test_shape_and_values(name: str) -> None:
    rng = np.random.default_rng(8)
    picture, visible, parts = render_parts(sample_person(rng), sample_view(rng, name))
    assert (picture.shape, picture.dtype) == ((HEIGHT, WIDTH, 3), np.uint8) == ((384, 128, 3), np.uint8)
    assert (parts.shape, parts.dtype) == ((HEIGHT, WIDTH), np.uint8) and parts.max() < len(PARTS)
    assert list(visible) == list(ATTRIBUTES)
    # A whole person, from head to feet, inside the picture.
    rows, columns = np.nonzero(parts)
    assert np.ptp(rows) > 0.7 * HEIGHT and 0 < rows.min() and rows.max() < HEIGHT - 1
    assert 0.06 < (parts > 0).mean() < 0.6


@pytest.mark.parametrize("colour", ["red", "yellow", "green", "blue"])
def test_a_backpack_is_seen_from_behind_and_its_straps_from_the_front(colour: str) -> None:
    person = someone(bag_type="backpack", bag_colour=colour)
    behind, _, parts_behind = render_parts(person, seen_from(180))
    front, _, parts_front = render_parts(person, seen_from(0))
    sack, straps = pixels_of("bag", parts_behind), pixels_of("bag", parts_front)
    assert sack.sum() > 2000 and 150 < straps.sum() < sack.sum() / 2
    assert nearest_colour(behind[sack]) == nearest_colour(front[straps]) == colour
    # One sack in the middle; two straps, left and right of a chest that stays free.
    assert sack[:, WIDTH // 2].sum() > 40
    lowest = HEIGHT // 2
    assert straps[:lowest, : WIDTH // 2].sum() > 50 and straps[:lowest, WIDTH // 2 :].sum() > 50
    assert straps[:, WIDTH // 2].sum() == 0
    bare, _, parts_bare = render_parts(someone(), seen_from(180))
    assert not pixels_of("bag", parts_bare).any() and not np.array_equal(bare, behind)


def test_a_chest_logo_is_seen_from_the_front_only() -> None:
    def difference(degrees: float) -> int:
        pictures = [render(someone(logo=logo), seen_from(degrees))[0].astype(int) for logo in ("no", "yes")]
        return int((np.abs(pictures[0] - pictures[1]).max(2) > 8).sum())

    assert difference(0) > 150 and difference(25) > 100
    assert difference(180) == difference(150) == difference(-140) == 0
    for logo in ("no", "yes"):
        assert render(someone(logo=logo), seen_from(0))[1]["logo"] == logo
        assert render(someone(logo=logo), seen_from(180))[1]["logo"] == CANNOT_TELL


def test_glasses_are_seen_from_the_front_only() -> None:
    for kind in ("none", "glasses", "sunglasses"):
        assert render(someone(glasses=kind), seen_from(0))[1]["glasses"] == kind
        assert render(someone(glasses=kind), seen_from(180))[1]["glasses"] == CANNOT_TELL
    behind = [render(someone(glasses=kind), seen_from(180))[0] for kind in ("none", "sunglasses")]
    assert (np.abs(behind[0].astype(int) - behind[1]).max(2) > 8).sum() < 30  # temples at most


@pytest.mark.parametrize("degrees", [0, 40, 90, 140, 180, -90])
@pytest.mark.parametrize("part", ["upper", "lower", "hat", "scarf"])
def test_a_garment_has_its_colour_from_every_side(part: str, degrees: float) -> None:
    person = someone(
        upper_colour="green", lower_colour="blue", hat_type="cap", hat_colour="yellow", scarf="scarf",
        scarf_colour="red",
    )  # fmt: skip
    colour = {"upper": "green", "lower": "blue", "hat": "yellow", "scarf": "red"}[part]
    picture, _, parts = render_parts(person, seen_from(degrees))
    assert nearest_colour(picture[pixels_of(part, parts)]) == colour


def test_longer_hair_hides_more_of_the_back() -> None:
    area = [
        pixels_of("hair", render_parts(someone(hair_length=length), seen_from(180))[2]).sum()
        for length in ATTRIBUTES["hair_length"]
    ]
    assert area[0] * 1.2 < area[1] < area[2] / 1.2


def test_left_and_right_are_mirrored_between_front_and_back() -> None:
    """A handbag hangs at the left hand: on the right side of the picture from the front, left from behind."""
    person = someone(bag_type="handbag")
    middles = []
    for degrees in (0, 180):
        columns = np.nonzero(pixels_of("bag", render_parts(person, seen_from(degrees))[2]))[1]
        middles.append(columns.mean() - WIDTH / 2)
    assert middles[0] * middles[1] < 0 and abs(abs(middles[0]) - abs(middles[1])) < 8


def test_a_change_of_one_attribute_changes_only_its_own_truth() -> None:
    before = render(someone(), seen_from(0))[1]
    for name, value in {
        "upper_colour": "red",
        "shoe_type": "boots",
        "pattern": "dotted",
        "sleeves": "long",
    }.items():
        after = render(someone(**{name: value}), seen_from(0))[1]
        assert {key for key in after if after[key] != before[key]} == {name}


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_visible_truth_agrees_with_the_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    person = sample_person(rng)
    look = person.attributes
    _, visible, parts = render_parts(person, sample_view(rng))
    count = {part: int(pixels_of(part, parts).sum()) for part in PARTS}
    for name, value in visible.items():
        assert value in (look[name], CANNOT_TELL, None)
    for part, names in {
        "hair": ("hair_length", "hair_colour"),
        "upper": ("upper_type", "upper_colour", "pattern"),
        "sleeve": ("sleeves",),
        "lower": ("lower_type", "lower_colour"),
        "shoe": ("shoe_type", "shoe_colour"),
    }.items():
        for name in names:
            if visible[name] == look[name]:
                assert count[part] >= 70
            elif visible[name] == CANNOT_TELL:
                assert count[part] <= 100
    for part, kind, absent in (
        ("bag", "bag_type", "none"),
        ("hat", "hat_type", "none"),
        ("held", "held", "nothing"),
    ):
        if look[kind] == absent:
            assert (visible[kind], count[part]) == (absent, 0)
        elif visible[kind] is not None:
            assert count[part] >= 45
        else:
            assert count[part] < 110
    for colour, kind in (("bag_colour", "bag_type"), ("hat_colour", "hat_type"), ("scarf_colour", "scarf")):
        assert (visible[colour] is None) == (visible[kind] in (None, "none"))
    assert visible["gender"] == look["gender"] and visible["action"] == look["action"]


def test_what_an_occluder_hides_cannot_be_told() -> None:
    hidden = 0
    for seed in range(40):
        picture, visible, parts = render_parts(someone(), seen_from(0, occluder="low wall", seed=seed))
        rows = np.nonzero((parts > 0).any(1))[0]
        clear = render_parts(someone(), seen_from(0, seed=seed))[2]
        assert ((parts == 0) | (parts == clear)).all()
        below = clear[rows.max() + 1 :]
        if not (parts[rows.max() + 1 :] > 0).any() and pixels_of("shoe", parts).sum() <= 12:
            assert visible["shoe_type"] == visible["shoe_colour"] == CANNOT_TELL and (below > 0).any()
            hidden += 1
        if hidden == 3:
            break
    assert hidden == 3


@pytest.mark.parametrize(
    ("pixels", "told"), [(0, CANNOT_TELL), (25, CANNOT_TELL), (26, None), (89, None), (90, "short")]
)
def test_between_hidden_and_seen_nothing_is_asked(pixels: int, told: str | None) -> None:
    parts = np.zeros((HEIGHT, WIDTH), np.uint8)
    parts.ravel()[:pixels] = PARTS.index("hair")
    assert visible_truth(someone(), parts, 0, 0)["hair_length"] == told


def test_exposure_blur_and_noise_change_the_picture_and_not_the_truth() -> None:
    person = someone(bag_type="backpack")
    picture, visible, parts = render_parts(person, seen_from(30))
    for change in ({"exposure": 0.8}, {"blur": 1.0}, {"noise": 0.02}, {"tint": (1.1, 1.0, 0.9)}):
        other, still, same = render_parts(person, seen_from(30, **change))
        assert (picture != other).any() and visible == still and np.array_equal(parts, same)
    assert render(person, seen_from(30, exposure=0.8))[0].mean() < picture.mean()
