"""Reading ahead: the next page is fetched while the last one is committed, so a sync goes at the slower one's pace and not at both's sum.

One page ahead and no more, so that memory stays flat. Knows no checkpoint: what was read ahead and not committed is read again.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar

PageT = TypeVar("PageT")
PlaceT = TypeVar("PlaceT")


async def ahead(
    fetch: Callable[[PlaceT], Coroutine[Any, Any, PageT]], first: PlaceT, *, onward: Callable[[PageT], PlaceT | None]
) -> AsyncGenerator[PageT]:
    """Page after page from `first` on. `onward`: where the next begins; None: this page has nothing, and none is behind it.

    Use inside `aclosing`: a fetch under way is then cancelled when the walk ends early. One that fails is raised behind the page before it.
    """
    coming = _begin(fetch(first))
    try:
        while (place := onward(page := await coming)) is not None:
            coming = _begin(fetch(place))
            yield page
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


def _begin(fetching: Coroutine[Any, Any, PageT]) -> asyncio.Task[PageT]:
    return asyncio.create_task(fetching, name="page ahead")
