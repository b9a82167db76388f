"""Invariant 1 when the power fails while mails travel: who heard of it outside may forget it.

Two gateways exchange studies through a mail server (``power_loss_exchange.py``). Everything that they say to
it stands in the recording beside what they write and sync, so for every point it is known what the server has
heard. Then this must be on the disk, whatever else is lost:

* of a mail that was deleted from its mailbox: the mail, or all that it brought (IMAP and POP3);
* of a message whose submission began: the same bytes under the same Message-ID, as long as it may go again;
* of a receipt whose submission began: the objects that it confirms.

And the gateways go on from there until both have everything. With one sync left out of the recording, or with
the order turned round, each of these must be seen to fail.

RADPOST_SEED chooses studies and cuts; the threads of the gateways take their turns as they like.
"""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from radpost.testing.aftermath import Continuation, violations
from radpost.testing.correspondence import NAMES
from radpost.testing.overheard import Heard, Recording, recorded
from radpost.testing.powerloss import Disk

pytestmark = [pytest.mark.peer("strace", "gnupg"), pytest.mark.timeout(400)]

EXCHANGE = Path(__file__).with_name("power_loss_exchange.py")
LENGTH = max(1, int(os.environ.get("RADPOST_SOAK", "1")))
SEED = int(os.environ.get("RADPOST_SEED", "0")) or 5
STUDIES = 4
CUTS = 200
MUTANT_CUTS = 120
GO_ON_EVERY = 20


@pytest.fixture
def disks() -> Iterator[Path]:
    """Where disks are rebuilt; in memory if possible, the sync of the test itself proves nothing."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder).resolve()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return recorded(EXCHANGE, tmp_path_factory.mktemp("exchange"), SEED, STUDIES)


def cuts(recording: Recording, count: int, random: Random) -> list[int]:
    """Choose where the power fails: two thirds right after the server heard something, the rest anywhere."""
    chosen = [random.choice(recording.heard).after for _ in range(count * 2 // 3)]
    return sorted(chosen + [random.randrange(len(recording.calls) + 1) for _ in range(count - len(chosen))])


@dataclass(frozen=True)
class Cut:
    """A moment at which the power failed."""

    after: int
    image: Path
    """The disk that it left."""
    heard: list[Heard]
    faults: list[str]

    @property
    def has_both(self) -> bool:
        """Whether both gateways had come to their work."""
        return {item.deleted_by for item in self.heard} >= set(NAMES)


def played(
    recording: Recording, where: Sequence[int], place: Path, random: Random, *, lost: Collection[int] = ()
) -> Iterator[Cut]:
    """Yield for every cut the disk that the power failure left; ``lost`` are calls that did not happen."""
    disk = Disk(recording.folder)
    done = 0
    for number, cut in enumerate(where):
        for index in range(done, cut):
            if index not in lost:
                disk.play(recording.calls[index])
        done = cut
        image = place / str(number) / "disk"
        image.parent.mkdir()
        disk.image(image, random)
        heard = recording.until(cut)
        yield Cut(cut, image, heard, violations(image, recording, heard))
        shutil.rmtree(place / str(number))


def syncs(recording: Recording, wanted: Callable[[Path], bool]) -> frozenset[int]:
    """Return the syncs of these files and folders; a file goes by the name that it gets in the end."""
    renamed = {call.strings[0]: call.strings[1] for call in recording.calls if call.name.startswith("rename")}
    paths: dict[int, Path] = {}
    found: set[int] = set()
    for index, call in enumerate(recording.calls):
        if call.name.startswith("open") and call.moment == "end":
            path = call.strings[0]
            paths[call.result] = Path(os.fsdecode(renamed.get(path, path))).relative_to(recording.folder)
        elif call.name in ("fsync", "fdatasync") and wanted(paths[call.number(0)]):
            found.add(index)
    return frozenset(found)


def fetched(recording: Recording, path: Path) -> bool:
    return any(
        path.name == letter.sha256 and path.parts[0] != letter.sender for letter in recording.letters.values()
    )


def sealed(recording: Recording, path: Path) -> bool:
    return Path(*path.parts[:1], path.name) in recording.sealed


def imported(recording: Recording, path: Path) -> bool:
    return any(
        path.name in letter.objects and path.parts[0] != letter.sender
        for letter in recording.letters.values()
        if letter.kind == "mail"
    )


def shard(_recording: Recording, path: Path) -> bool:
    return path.parent.name == "objects"


def log(_recording: Recording, path: Path) -> bool:
    return path.name == "radpost.db-wal"


UNKNOWN = "deleted mail: nothing is known of it"
BYTES_LOST = "deleted mail: its bytes are lost"
BROUGHT_LOST = "deleted mail: what it brought is lost"
NOT_COMMITTED = "submission: nothing is known of it"
OTHER_BYTES = "submission: it would go again with other bytes"
CONFIRMED_LOST = "receipt: an object that it confirms is lost"
MUTANTS: dict[str, tuple[Callable[[Recording, Path], bool], set[str]]] = {
    "fetched mails": (fetched, {f"{name}: {BYTES_LOST}" for name in NAMES}),
    "sealed mails": (sealed, {f"a: {OTHER_BYTES}", f"b: {OTHER_BYTES}"}),
    "imported objects": (
        imported,
        {f"{name}: {fault}" for name in NAMES for fault in (BROUGHT_LOST, CONFIRMED_LOST)},
    ),
    "folders of the spool": (
        shard,
        {f"{name}: {fault}" for name in NAMES for fault in (BYTES_LOST, OTHER_BYTES, CONFIRMED_LOST)},
    ),
    "commits": (
        log,
        {f"{name}: {fault}" for name in NAMES for fault in (UNKNOWN, NOT_COMMITTED, CONFIRMED_LOST)},
    ),
}


@pytest.mark.soak
@pytest.mark.timeout(0 if LENGTH > 1 else 400)
def test_invariant_1_power_loss_while_mails_travel(recording: Recording, disks: Path) -> None:
    random = Random(SEED)
    again = 0
    for number, cut in enumerate(played(recording, cuts(recording, CUTS * LENGTH, random), disks, random)):
        moment = f"RADPOST_SEED={SEED}, cut at call {cut.after} of {len(recording.calls)}"
        assert cut.faults == [], moment
        if number % GO_ON_EVERY == 0 and cut.has_both:
            continuation = Continuation(cut.image, recording, cut.heard, random)
            assert continuation.run() == [], moment
            again += continuation.again
    assert again, "some submissions were uncertain"


def test_invariant_4_the_exchange_goes_on_only_if_what_is_uncertain_goes_again(
    recording: Recording, disks: Path
) -> None:
    random = Random(SEED)
    for cut in played(recording, cuts(recording, MUTANT_CUTS, random), disks, random):
        if cut.has_both and Continuation(cut.image, recording, cut.heard, random).run(recover=False):
            return
    raise AssertionError("a gateway that forgets what it was sending is not found")


def test_the_exchange_is_what_this_is_about(recording: Recording) -> None:
    """Each way was taken: whole and in fragments, deleted by both protocols, answered, sent twice."""
    submitted = Counter(item.letter for item in recording.heard if not item.deleted_by)
    kinds = {(one.sender, one.kind) for one in recording.letters.values()}
    assert kinds == {(name, kind) for name in NAMES for kind in ("mail", "receipt", "garbled")}
    assert max(submitted.values()) > 1, "some submissions were uncertain, and went again"
    for name in NAMES:
        gone = {item.letter for item in recording.heard if item.deleted_by == name}
        assert gone == {envid for envid, one in recording.letters.items() if one.sender != name}
    assert any(b"Content-Type: message/partial" in content for content in recording.contents.values())


@pytest.mark.parametrize("mutant", MUTANTS)
def test_invariant_1_power_loss_finds_syncs_left_out(recording: Recording, disks: Path, mutant: str) -> None:
    chosen, expected = MUTANTS[mutant]
    lost = syncs(recording, lambda path: chosen(recording, path))
    assert lost
    finds(recording, disks, expected, lost=lost)


def test_invariant_1_power_loss_finds_mails_deleted_before_they_are_kept(tmp_path: Path, disks: Path) -> None:
    finds(
        recorded(EXCHANGE, tmp_path, SEED, 1, "deleted, then kept"),
        disks,
        {f"{name}: {UNKNOWN}" for name in NAMES},
    )


def finds(recording: Recording, disks: Path, expected: set[str], *, lost: Collection[int] = ()) -> None:
    """Assert that the power failure is seen to take what a mutant leaves to it."""
    random = Random(SEED)
    missing = set(expected)
    where = cuts(recording, MUTANT_CUTS, random)
    for cut in played(recording, where, disks, random, lost=lost):
        missing -= set(cut.faults)
        if not missing:
            return
    raise AssertionError(f"not seen at {len(where)} cuts: {sorted(missing)} (RADPOST_SEED={SEED})")
