"""`postroom worker`: a dispatcher process."""

from cli import kept, own_modules, running
from cli.database import database, direct
from cli.lifeline import say_ready
from cli.options import StopWithParent
from dispatcher.config import DispatcherSettings
from dispatcher.modules import Loaded
from dispatcher.service import Dispatcher, Stop
from dispatcher.services import services
from outbox.config import DatabaseSettings


def command(stop_with_parent: StopWithParent = False) -> None:
    """Run a dispatcher: it drains the outbox until it is told to stop. Several may run at once.

    SIGTERM or Ctrl-C: no new events; what runs gets POSTROOM_GRACE_SECONDS to finish, the rest is handed back. A second signal
    hands back at once. A database that is away is waited for.

    Examples:

        postroom worker

        POSTROOM_CONCURRENCY=50 postroom worker
    """
    settings, own = DatabaseSettings.read(), DispatcherSettings.read()
    running.configure_log(settings)
    loaded = own_modules.loaded(own)
    with database(settings, keep=True) as dsn:
        running.run(_work(dsn, settings, own, loaded, say=stop_with_parent), stop_with_parent=stop_with_parent)


async def _work(dsn: str, settings: DatabaseSettings, own: DispatcherSettings, loaded: Loaded, *, say: bool) -> None:
    stop = Stop()
    running.on_signals(stop.ask)
    unsaid = [say]

    def ready() -> None:
        if unsaid.pop():
            say_ready()
        unsaid.append(False)

    async with services(dsn, own, sealer=kept.sealer(settings), own=loaded.clients) as shared:
        made = Dispatcher(
            dsn,
            shared,
            loaded.routes,
            direct_dsn=direct(settings, dsn),
            keep_days=settings.retention_days,
            syncs=loaded.syncs,
            pulls_first=True,
        )
        await made.run(stop, ready=ready)
