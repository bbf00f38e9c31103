"""docs/staging.md: the page, and the code of its examples by their names."""

import re
from pathlib import Path

import outbox

PAGE = (Path(outbox.__file__).parents[1] / "docs" / "staging.md").read_text("utf-8")
EXAMPLES: dict[str, str] = dict(re.findall(r"<!-- example: ([\w -]+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL))
FENCES = re.findall(r"^```(\w+)$", PAGE, re.MULTILINE)
