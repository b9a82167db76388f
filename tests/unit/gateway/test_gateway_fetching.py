"""Mailboxes: what is fetched, kept, deleted and left, against servers that are functions (DESIGN 12)."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from msgspec.structs import replace

from radpost.errors import DISK_FULL, QUARANTINE_FULL, SERVER_PROTOCOL, RadpostError
from radpost.gateway.config import Mailbox
from radpost.gateway.fetching import ImapFetcher, Pop3Fetcher
from radpost.gateway.keeping import GONE_GRACE_SECONDS, TIDY_EVERY_SECONDS, Keeper
from radpost.store import incoming_mails, mailbox_entries
from radpost.store.spool import Stored
from radpost.testing.house import House, Pair
from radpost.transfer.retry import Connected, ConnectFailed
from radpost.transport import imap, pop3
from radpost.transport.imap import ImapMailbox, Wake
from radpost.transport.pop3 import Item, Pop3Mailbox

BOX = Mailbox(host="localhost", port=143, security="none", user="u", foreign_folder="Other")


@dataclass
class Server:
    """A mailbox in memory; as IMAP client and as POP3 client."""

    mails: dict[int, bytes]
    refused: set[int] = field(default_factory=set)
    uidplus: bool = True
    validity: int = 7
    uidl: bool = True
    fetched: list[int] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    stop_after: int = 1
    stopping: threading.Event = field(default_factory=threading.Event)
    quits: bool = True
    marked: list[int] = field(default_factory=list)
    flagged: set[int] = field(default_factory=set)

    def open(self) -> Any:
        return imap.Selected(self.validity, None, len(self.mails), renumbered=False)

    def new_uids(self) -> list[int]:
        return sorted(set(self.mails) - self.flagged)

    def all_uids(self) -> set[int]:
        return set(self.mails)

    def fetch(self, wanted: Sequence[Any], sink: Callable[..., Any]) -> Iterator[Any]:
        for one in wanted:
            number = one.number if isinstance(one, Item) else one
            self.fetched.append(number)
            if number in self.refused:
                if not isinstance(one, Item):
                    yield imap.Fetched(number, None, "NO not this one")
                continue
            data = self.mails[number]
            if isinstance(one, Item):
                sink(one).write(data)
                yield pop3.Fetched(number, len(data), one.uidl or f"hash{hash(data)}")
            else:
                sink(number, len(data)).write(data)
                yield imap.Fetched(number, len(data))

    def delete(self, numbers: Any) -> bool:
        if self.uidplus:
            for number in numbers:
                self.mails.pop(number, None)
        self.marked = list(numbers)
        return self.uidplus

    def move(self, uids: Sequence[int], folder: str) -> bool:
        assert folder == "Other"
        self.moved += uids
        for uid in uids:
            self.mails.pop(uid)
        return True

    def wait(self, seconds: float) -> Wake:
        self.waits.append(seconds)
        if len(self.waits) >= self.stop_after:
            self.stopping.set()
        return Wake.TIMEOUT

    def items(self) -> tuple[Item, ...]:
        return tuple(Item(n, len(d), f"uidl-{n}" if self.uidl else None) for n, d in self.mails.items())

    def quit(self) -> list[int]:
        return self.marked if self.quits else []


def fetch(house: House, server: Server, mailbox: Mailbox = BOX) -> ImapFetcher:
    """Run one IMAP session until the server has waited as often as it wants."""
    server.stopping.clear()
    server.waits.clear()
    fetcher = ImapFetcher(house.site, mailbox)
    fetcher._work(cast("ImapMailbox", server), server.stopping)
    return fetcher


def poll(house: House, server: Server) -> bool:
    fetcher = Pop3Fetcher(house.site, BOX)
    return fetcher._work(cast("Pop3Mailbox", server), threading.Event())


def arrivals(house: House) -> int:
    with house.site.database.read() as connection:
        return len(incoming_mails.recent_arrivals(connection, 100))


@pytest.fixture
def b(make_pair: "Callable[..., Pair]") -> House:
    return make_pair().b


def letter(number: int) -> bytes:
    return b"From: x@y.example\r\nContent-Type: text/plain\r\n\r\nletter %d\r\n" % number


def ours(number: int) -> bytes:
    return b"From: dicom@a.example\r\nContent-Type: message/partial; id=i%d; number=1\r\n\r\n\r\n" % number


def test_invariant_1_a_mail_is_deleted_after_it_is_durable_and_recognised_only(b: House) -> None:
    server = Server({1: ours(1), 2: letter(2)})
    fetch(b, server)
    assert sorted(server.mails) == [1, 2], "fetched, and no more"
    b.process()
    fetch(b, server)
    assert (server.mails, server.moved) == ({}, [2])
    assert server.fetched == [1, 2]


def test_without_uidplus_ours_are_flagged_once_and_not_fetched_again(b: House) -> None:
    server = Server({1: ours(1)}, uidplus=False)
    for _ in range(3):
        fetch(b, server)
        b.process()
    assert (list(server.mails), server.fetched) == ([1], [1])


def test_new_numbers_for_known_bytes_are_no_new_mails(b: House) -> None:
    server = Server({1: letter(1), 2: ours(2)}, uidplus=False)
    fetch(b, server)
    b.process()
    again = Server({11: letter(1), 12: ours(2)}, validity=8)
    fetch(b, again)
    fetch(b, again)
    assert arrivals(b) == 2
    assert 12 not in again.mails, "it was ours before the renumbering"


def test_a_mail_that_the_server_does_not_give_out_is_named_and_no_busy_loop(b: House) -> None:
    server = Server({1: letter(1), 2: letter(2)}, refused={1}, stop_after=3)
    fetch(b, server)
    assert server.fetched == [1, 2]
    assert len(server.waits) == 3
    assert [code for code, _ in b.alarms()] == [SERVER_PROTOCOL.code]


def test_many_mails_to_delete_do_not_wait_a_minute_for_each_hundred(b: House) -> None:
    server = Server({number: ours(number) for number in range(1, 251)})
    fetch(b, server)
    b.process()
    fetch(b, server)
    assert server.mails == {}
    assert len(server.waits) == 1


@pytest.mark.parametrize("reason", [DISK_FULL, QUARANTINE_FULL])
def test_while_there_is_no_room_mails_stay_and_what_is_ours_still_goes(
    b: House, monkeypatch: pytest.MonkeyPatch, reason: Any
) -> None:
    server = Server({1: ours(1)})
    fetch(b, server)
    b.process()
    server.mails[2] = letter(2)

    def full(_self: Keeper) -> None:
        raise RadpostError(reason)

    monkeypatch.setattr(Keeper, "check_room", full)
    fetcher = ImapFetcher(b.site, BOX)

    def session(stopping: threading.Event) -> None:
        stopping.set()
        server.stopping.clear()
        fetcher._work(cast("ImapMailbox", server), server.stopping)

    for _ in range(3):
        b.clock.now += 1000
        fetcher._keeper.run(threading.Event(), session)
    assert (list(server.mails), server.fetched) == ([2], [1])
    assert [code for code, _ in b.alarms()] == [reason.code]
    with b.site.database.read() as connection:
        from radpost.store import journal  # noqa: PLC0415  only here

        assert [alarm.count for alarm in journal.open_alarms(connection)] == [1], "one alarm, no flapping"


def test_pop3_deletes_when_quit_was_answered_and_not_before(b: House) -> None:
    server = Server({1: ours(1)}, quits=False)
    poll(b, server)
    b.process()
    poll(b, server)
    with b.site.database.read() as connection:
        assert len(mailbox_entries.entries(connection, BOX.name, "uidl")) == 1
    server.quits = True
    server.mails = {1: ours(1)}
    poll(b, server)
    with b.site.database.read() as connection:
        assert mailbox_entries.entries(connection, BOX.name, "uidl") == {}


@pytest.mark.parametrize("uidl", [True, False])
def test_pop3_does_not_hurry_for_mails_that_stay(b: House, uidl: bool) -> None:
    server = Server({1: letter(1)}, uidl=uidl)
    assert poll(b, server), "something new: look again soon"
    b.process()
    assert not poll(b, server)
    assert arrivals(b) == 1


def test_pop3_does_not_hurry_for_a_mail_that_it_does_not_get(b: House) -> None:
    assert not poll(b, Server({1: letter(1)}, refused={1}))


def test_a_line_that_fails_is_told_once_and_ends(b: House) -> None:
    keeper = Keeper(b.site, BOX)
    for _ in range(5):
        keeper.tell(ConnectFailed(DISK_FULL, urgent=True))
    assert [code for code, _ in b.alarms()] == [DISK_FULL.code]
    keeper.tell(Connected())
    assert b.alarms() == []


def test_the_same_bytes_are_one_arrival_for_all_their_numbers(b: House) -> None:
    keeper = Keeper(b.site, BOX)
    with b.site.spool.writer() as writer:
        writer.write(letter(1))
        stored = writer.commit()
    assert isinstance(stored, Stored)
    for uid in ("1", "2"):
        keeper.keep(stored, "7", uid)
    b.process()
    assert {row.state for row in keeper.known("7").values()} == {"foreign"}
    assert arrivals(b) == 1


def remembered(house: House) -> set[tuple[str, str]]:
    with house.site.database.read() as connection:
        found = [*mailbox_entries.entries(connection, BOX.name, "7").values()]
        found += mailbox_entries.entries(connection, BOX.name, "8").values()
        found += mailbox_entries.entries(connection, BOX.name, "uidl").values()
    return {(row.validity, row.uid) for row in found}


def test_mails_that_are_gone_are_forgotten_after_the_grace_only(b: House) -> None:
    server = Server({1: letter(1), 2: letter(2)}, stop_after=1)
    box = replace(BOX, foreign_folder="")
    fetch(b, server, box)
    b.process()
    del server.mails[1]
    b.clock.now += GONE_GRACE_SECONDS - 60
    fetch(b, server, box)
    assert remembered(b) == {("7", "1"), ("7", "2")}, "it may be moved back"
    b.clock.now += 120
    fetch(b, server, box)
    assert remembered(b) == {("7", "2")}, "what is there is remembered for ever"


def test_gone_mails_are_looked_for_once_an_hour(b: House) -> None:
    keeper = Keeper(b.site, BOX)
    assert keeper.tidy_is_due()
    keeper.tidy("7", set())
    assert not keeper.tidy_is_due()
    b.clock.now += TIDY_EVERY_SECONDS + 1
    assert keeper.tidy_is_due()


def test_a_mail_that_is_only_flagged_is_not_forgotten(b: House) -> None:
    """Somebody may take the flag back, and then it could be fetched again."""
    server = Server({1: ours(1)}, uidplus=False)
    fetch(b, server)
    b.process()
    fetch(b, server)
    server.flagged = {1}
    b.clock.now += GONE_GRACE_SECONDS + 60
    fetch(b, server)
    server.flagged = set()
    fetch(b, server)
    assert (server.fetched, arrivals(b)) == ([1], 1)
    server.mails.clear()
    b.clock.now += TIDY_EVERY_SECONDS
    fetch(b, server)
    assert remembered(b) == set()


def test_an_old_uidvalidity_is_forgotten_when_all_is_known_under_the_new_one(b: House) -> None:
    box = replace(BOX, foreign_folder="")
    fetch(b, Server({1: letter(1), 2: letter(2)}), box)
    b.process()
    b.clock.now += GONE_GRACE_SECONDS + 60
    again = Server({11: letter(1), 12: letter(2)}, validity=8, flagged={12})
    fetch(b, again, box)
    assert ("7", "2") in remembered(b), "the mail that is flagged could still be fetched"
    again.flagged = set()
    b.clock.now += TIDY_EVERY_SECONDS
    fetch(b, again, box)
    assert remembered(b) == {("8", "11"), ("8", "12")}
    assert arrivals(b) == 2
    # a server that comes back from a backup with the first numbers finds the bytes known
    fetch(b, Server({1: letter(1), 2: letter(2)}), box)
    assert arrivals(b) == 2


def test_pop3_mails_that_are_gone_are_forgotten(b: House) -> None:
    server = Server({1: letter(1), 2: letter(2)})
    poll(b, server)
    b.process()
    del server.mails[1]
    b.clock.now += GONE_GRACE_SECONDS + 60
    poll(b, server)
    assert remembered(b) == {("uidl", "uidl-2")}


def test_pop3_without_uidl_forgets_nothing_that_it_has_not_read(
    b: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server({1: ours(1)}, uidl=False, quits=False)
    poll(b, server)
    b.process()
    b.clock.now += GONE_GRACE_SECONDS + 60

    def full(_self: Keeper) -> None:
        raise RadpostError(DISK_FULL)

    with monkeypatch.context() as patched:
        patched.setattr(Keeper, "check_room", full)
        with pytest.raises(RadpostError):
            poll(b, server)
    poll(b, server)
    assert arrivals(b) == 1, "without room no mail was read: that names none as gone"
