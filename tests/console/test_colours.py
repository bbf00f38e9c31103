"""The palette keeps its contrast: computed from the style sheet, as WCAG 2.2 defines it."""

import re
from importlib.resources import files

import pytest

CSS = files("receiver.console").joinpath("static/console.css").read_text("utf-8")
STATES = ("running", "retry", "held", "done", "skipped", "dead")
GROUNDS = ("background", "surface", "raised")


def palettes() -> dict[str, list[dict[str, str]]]:
    """Every block of the style sheet that sets colours, by its scheme."""
    found: dict[str, list[dict[str, str]]] = {"light": [], "dark": []}
    for block in re.findall(r"\{([^{}]*--background:[^{}]*)\}", CSS):
        scheme = re.search(r"color-scheme: (\w+)", block)
        assert scheme is not None
        found[scheme[1]].append(dict(re.findall(r"--([\w-]+): (#[0-9A-F]{6})", block)))
    return found


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


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
