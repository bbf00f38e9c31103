"""How many events each dispatcher process has handled, seen from outside without asking the database.

A question to the database would walk over the dead rows that a drain leaves, and slow down what is measured.
"""

import mmap
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

CELL_BYTES: Final = 8


class Cell:
    """The number of one process, which alone writes it."""

    def __init__(self, path: Path, place: int) -> None:
        self._file = path.open("r+b")
        self._map = mmap.mmap(self._file.fileno(), 0)
        self._view = memoryview(self._map).cast("Q")
        self._place = place

    def set(self, number: int) -> None:
        """A write into memory that both processes see."""
        self._view[self._place] = number


class Tally:
    """A file of as many numbers as there are processes."""

    def __init__(self, processes: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="postroom-bench-")
        self.path = Path(self._folder.name) / "tally"
        self.path.write_bytes(bytes(CELL_BYTES * processes))
        self._file = self.path.open("r+b")
        self._map = mmap.mmap(self._file.fileno(), 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._map.close()
        self._file.close()
        self._folder.cleanup()

    def total(self) -> int:
        """Of all processes."""
        return sum(memoryview(self._map[:]).cast("Q"))
