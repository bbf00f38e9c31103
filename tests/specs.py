"""Where the providers' official specification files are, for the tests that check against them.

They are not part of the project. POSTROOM_SPECS names their folder; otherwise they are looked for beside the project.
"""

import os
from pathlib import Path

import pytest

_BESIDE_THE_PROJECT = Path(__file__).resolve().parents[1] / "../shared/specs"


def specs_path(name: str) -> Path:
    """The file of that name (`ghl/apps/contacts.json`); skips the calling test where it is absent."""
    root = Path(os.environ.get("POSTROOM_SPECS") or _BESIDE_THE_PROJECT).resolve()
    path = root / name
    if not path.is_file():
        pytest.skip(f"no {name} in {root}: set POSTROOM_SPECS to the folder of the official specification files")
    return path
