"""The palette keeps its contrast, and its states apart for every eye: computed from the style sheet.

Contrast as WCAG 2.2 defines it; distance as CIEDE2000; colour-blind sight as Machado, Oliveira and Fernandes 2009 at full severity.
"""

import re
from importlib.resources import files
from itertools import combinations
from math import atan2, cos, degrees, exp, hypot, radians, sin, sqrt

import pytest

CSS = files("receiver.console").joinpath("static/console.css").read_text("utf-8")
STATES = ("running", "retry", "held", "done", "skipped", "dead")
GROUNDS = ("background", "surface", "raised")
LEAST_APART = 11.9
SIGHTS = {
    "normal": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
WHITE = (0.95047, 1.0, 1.08883)
Three = tuple[float, ...]


def palettes() -> dict[str, list[dict[str, str]]]:
    """Every block of the style sheet that sets colours, by its scheme."""
    found: dict[str, list[dict[str, str]]] = {"light": [], "dark": []}
    for block in re.findall(r"\{([^{}]*--background:[^{}]*)\}", CSS):
        scheme = re.search(r"color-scheme: (\w+)", block)
        assert scheme is not None
        found[scheme[1]].append(dict(re.findall(r"--([\w-]+): (#[0-9A-F]{6})", block)))
    return found


def linear(colour: str) -> Three:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return tuple(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)


def luminance(colour: str) -> float:
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear(colour), strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_dark_palette_is_the_same_by_system_and_by_switch() -> None:
    dark = palettes()["dark"]
    assert len(dark) == 2
    assert dark[0] == dark[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_on_every_ground(scheme: str) -> None:
    colours = palettes()[scheme][0]
    for ground in GROUNDS:
        for name in ("ink", "muted", "link", *STATES):
            assert contrast(colours[name], colours[ground]) >= 4.5, f"{name} on {ground}"
        assert contrast(colours["control"], colours[ground]) >= 3, f"control on {ground}"
    for state in STATES:
        assert contrast(colours[state], colours[f"{state}-tint"]) >= 4.5, f"{state} on its tint"
    assert contrast(colours["on-button"], colours["button"]) >= 4.5


def through(matrix: tuple[Three, ...], values: Three) -> Three:
    return tuple(sum(weight * value for weight, value in zip(row, values, strict=True)) for row in matrix)


def lab(colour: str, sight: str) -> Three:
    """CIE L*a*b* of what such an eye sees."""
    seen = tuple(min(1.0, max(0.0, part)) for part in through(SIGHTS[sight], linear(colour)))
    x, y, z = (
        part ** (1 / 3) if part > 216 / 24389 else (24389 / 27 * part + 16) / 116
        for part in (value / white for value, white in zip(through(XYZ, seen), WHITE, strict=True))
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def apart(one: Three, other: Three) -> float:
    """CIEDE2000, in the steps of Sharma, Wu and Dalal 2005."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    chroma = (hypot(a1, b1) + hypot(a2, b2)) / 2
    stretch = 1 + 0.5 * (1 - sqrt(chroma**7 / (chroma**7 + 25**7)))
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = hypot(a1, b1), hypot(a2, b2)
    h1, h2 = degrees(atan2(b1, a1)) % 360, degrees(atan2(b2, a2)) % 360
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    hue = (h1 + turn / 2) % 360 if c1 * c2 else h1 + h2
    light, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    t = (
        1
        - 0.17 * cos(radians(hue - 30))
        + 0.24 * cos(radians(2 * hue))
        + 0.32 * cos(radians(3 * hue + 6))
        - 0.2 * cos(radians(4 * hue - 63))
    )
    by_light = (l2 - l1) / (1 + 0.015 * (light - 50) ** 2 / sqrt(20 + (light - 50) ** 2))
    by_chroma = (c2 - c1) / (1 + 0.045 * chroma)
    by_hue = 2 * sqrt(c1 * c2) * sin(radians(turn / 2)) / (1 + 0.015 * chroma * t)
    bend = -sin(radians(60 * exp(-(((hue - 275) / 25) ** 2)))) * 2 * sqrt(chroma**7 / (chroma**7 + 25**7))
    return sqrt(by_light**2 + by_chroma**2 + by_hue**2 + bend * by_chroma * by_hue)


def test_the_distance_is_that_of_the_published_pairs() -> None:
    assert apart((50, 2.6772, -79.7751), (50, 0, -82.7485)) == pytest.approx(2.0425, abs=1e-4)
    assert apart((50, 2.5, 0), (73, 25, -18)) == pytest.approx(27.1492, abs=1e-4)
    assert apart((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619)) == pytest.approx(2.0373, abs=1e-4)


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_two_states_look_alike_to_any_eye(scheme: str, sight: str) -> None:
    seen = {state: lab(palettes()[scheme][0][state], sight) for state in STATES}
    near = {pair: apart(seen[pair[0]], seen[pair[1]]) for pair in combinations(STATES, 2)}
    assert min(near.values()) >= LEAST_APART, min(near, key=near.__getitem__)
