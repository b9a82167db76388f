"""The process whose power fails while mails travel: two gateways that exchange through a mail server.

    python power_loss_exchange.py FOLDER SEED STUDIES SMTP IMAP POP3 [MUTANT]

The mail server and the keys belong to whoever started this; the keys lie beside FOLDER. What the gateways
say to the server is all that anybody outside hears of them. A mutant turns an order round.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from radpost.gateway import service
from radpost.gateway.fetching import ImapFetcher, Pop3Fetcher
from radpost.gateway.keeping import Fetched
from radpost.store.spool import Stored
from radpost.testing.correspondence import Correspondence, Ports, taken_keys


def mutate(name: str) -> None:
    """Let the mutant delete mails before they are kept."""
    if name == "deleted, then kept":
        ImapFetcher._fetch = _deletes_first(ImapFetcher._fetch)  # type: ignore[method-assign]  # the mutant
        Pop3Fetcher._fetch = _marks_first(Pop3Fetcher._fetch)  # type: ignore[method-assign]  # the mutant
    elif name:
        raise SystemExit(f"no mutant {name!r}")


def _deletes_first(fetch: Callable[..., bool]) -> Callable[..., bool]:
    def fetch_and_delete(self: Any, client: Any, validity: str, *others: Any) -> bool:
        keeper, held = self._keeper, list[Fetched]()

        def hold(mails: Sequence[Fetched], _validity: str) -> None:
            held.extend(mails)

        keeper.keep_all = hold
        try:
            kept = fetch(self, client, validity, *others)
        finally:
            del keeper.keep_all
        client.delete([int(mail.uid) for mail in held])
        time.sleep(0.02)
        keeper.keep_all(held, validity)
        return kept

    return fetch_and_delete


def _marks_first(fetch: Callable[..., int]) -> Callable[..., int]:
    def fetch_and_mark(self: Any, client: Any, new: Any, identities: Any, known: Any) -> int:
        keeper, held = self._keeper, list[tuple[Stored, str, str]]()
        keeper.keep = lambda *mail: held.append(mail)
        try:
            kept = fetch(self, client, new, identities, known)
        finally:
            del keeper.keep
        for item in new:
            client._ask(f"DELE {item.number}")
        time.sleep(0.02)
        for mail in held:
            keeper.keep(*mail)
        return kept

    return fetch_and_mark


def main() -> None:
    """Work, be stopped in the middle, work on until all is confirmed."""
    folder, seed, studies = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    ports = Ports(*map(int, sys.argv[4:7]))
    mutate(sys.argv[7] if len(sys.argv) > 7 else "")
    service.ROOM_FOR_SPEED = 1 << 60  # type: ignore[misc]  # no preallocated log: nothing but speed hangs on it
    correspondence = Correspondence(folder, ports, seed)
    correspondence.prepare(taken_keys(folder.parent / "keys"))
    if studies > 1:
        correspondence.work(studies, to_the_end=False)
    correspondence.work(studies, to_the_end=True)


if __name__ == "__main__":
    main()
