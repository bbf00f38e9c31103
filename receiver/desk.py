"""What one receiver process has at hand while it serves: made when it starts, shared by every request, gone when it stops."""

from dataclasses import dataclass

from outbox.db import Pool
from outbox.seal import Sealer
from receiver.auth import Gate
from receiver.config import ReceiverSettings
from receiver.handshakes import NotionTokens
from receiver.intake import Intake
from receiver.ledger import Ledger
from receiver.webhooks import Webhooks


@dataclass(frozen=True, slots=True)
class Desk:
    """The parts of a running receiver."""

    settings: ReceiverSettings
    pool: Pool
    intake: Intake
    ledger: Ledger
    notion: NotionTokens
    webhooks: Webhooks
    gate: Gate
    sealer: Sealer
    console: Pool  # its own two connections
    watches: bool  # whether people are told from this process when no dispatcher is alive
