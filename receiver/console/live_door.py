"""The two routes of live updates.

    GET /console/live?topics=totals,newest          server-sent events; 204 when there is no room: the page asks again and again instead
    GET /console/live/check?topics=totals,newest    the same values once; 401 when the session has ended

An open page keeps no session alive: only what a person does, does.
"""

from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from receiver.console.asking import desk_of
from receiver.console.live import Live, Viewer
from receiver.console.page import Refused
from receiver.console.render import HEADERS
from receiver.console.signin import Session, SignIn


class LiveDoor:
    """What asks and what is answered. The reader is Live."""

    def __init__(self, live: Live, sign_in: SignIn) -> None:
        self._live, self._sign_in = live, sign_in

    async def stream(self, request: Request) -> Response:
        """Begins a stream, if there is room for one. Raises Refused (422) for topics that there are not."""
        topics = self._topics(request)
        session = await self._session(request)
        if session is None:
            return Response(status_code=401, headers=HEADERS)
        if not self._live.has_room(session.digest):
            return Response(status_code=204, headers=HEADERS)
        viewer = Viewer(session.digest, topics)
        since = self._live.since(request.headers.get("last-event-id", ""))

        async def is_signed_in() -> bool:
            return await self._session(request) is not None

        return EventStream(self._live, viewer, self._live.stream(viewer, since=since, is_signed_in=is_signed_in))

    async def check(self, request: Request) -> Response:
        """Whether the session holds, whether a stream would be given, and what it would say."""
        topics = self._topics(request)
        session = await self._session(request)
        if session is None:
            return Response(status_code=401, headers=HEADERS)
        found = await self._live.read(desk_of(request).console, topics)
        if found is None or self._live.is_stopping:
            return Response(status_code=503, headers={**HEADERS, "retry-after": "5"})
        return JSONResponse({"has_room": self._live.has_room(session.digest), "topics": found}, headers=HEADERS)

    def _topics(self, request: Request) -> frozenset[str]:
        topics = self._live.topics(request.query_params.get("topics", ""))
        if topics is None:
            raise Refused(422, "There is no such topic", "A page asked to hear of something that is not told.")
        return topics

    async def _session(self, request: Request) -> Session | None:
        desk = desk_of(request)
        return await self._sign_in.find(request, desk.gate, desk.console, slides=False)


class EventStream(StreamingResponse):
    """Counts its viewer from its first byte until the browser has gone, whichever way it went."""

    def __init__(self, live: Live, viewer: Viewer, events: AsyncIterator[str]) -> None:
        super().__init__(events, headers={**HEADERS, "x-accel-buffering": "no"}, media_type="text/event-stream")
        self._live, self._viewer = live, viewer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._live.watching(self._viewer):
            await super().__call__(scope, receive, send)
