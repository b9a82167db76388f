"""Fragments are joined in any order, doubled, nested, of several senders; contradictions are refused."""

import base64
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from radpost.errors import INCOMPLETE_FRAGMENTS, MIME_MALFORMED, PARTIAL_INCONSISTENT, RESOURCE_LIMIT
from radpost.mails.opening import open_mails
from radpost.mails.results import MISSING_SHOWN, Result, Status
from radpost.mime.partial import FragmentHeader, split

WHEN = datetime(2026, 2, 12, 9, 30, tzinfo=UTC)
DATA = bytes(128) + b"DICM" + bytes(range(256)) * 60


def letter(data: bytes = DATA) -> bytes:
    """Return a mail with one object, not sealed: joining is what is looked at here."""
    text = base64.encodebytes(data).replace(b"\n", b"\r\n")
    return (
        b"From: a@partner.example\r\nTo: b@clinic.example\r\nMessage-ID: <inner@partner.example>\r\n"
        b"MIME-Version: 1.0\r\nContent-Type: application/dicom\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    ) + text


def fragments(
    mail: bytes, ident: str = "id-1", sender: str = "a@partner.example", limit: int = 5000
) -> list[bytes]:
    header = FragmentHeader(
        sender, "b@clinic.example", "part", WHEN, ident, lambda n: f"<{ident}.{n}@partner.example>"
    )
    return [b"".join(bytes(chunk) for chunk in cut.chunks(mail)) for cut in split(mail, limit, header)]


def opened(mails: Sequence[bytes], tmp_path: Path) -> list[Result]:
    paths = []
    for number, mail in enumerate(mails):
        paths.append(tmp_path / f"{number:03d}.eml")
        paths[-1].write_bytes(mail)
    return list(open_mails(paths).results)


def contents(results: Sequence[Result]) -> list[int]:
    return [item.size for result in results for item in result.objects]


@pytest.mark.parametrize("seed", range(4))
def test_any_order_with_copies_gives_the_mail_once(seed: int, tmp_path: Path) -> None:
    parts = fragments(letter())
    assert len(parts) > 3
    mixed = parts + parts[1:3]
    random.Random(seed).shuffle(mixed)
    (result,) = opened(mixed, tmp_path)
    assert (result.status, contents([result])) == (Status.OK, [len(DATA)])
    assert len(result.files) == len(mixed)
    assert result.message_id == "<inner@partner.example>"


def test_missing_fragments_are_named_and_nothing_is_given(tmp_path: Path) -> None:
    parts = fragments(letter())
    del parts[1], parts[-2]
    (result,) = opened(parts, tmp_path)
    assert (result.status, result.reason) == (Status.PENDING, INCOMPLETE_FRAGMENTS)
    assert result.missing == (2, len(parts) + 1)
    assert result.set is not None
    assert (result.set.id, result.set.total) == ("id-1", len(parts) + 2)
    assert result.objects == ()


def test_the_same_id_of_two_senders_means_two_mails(tmp_path: Path) -> None:
    other = DATA + b"other"
    ours = fragments(letter())
    theirs = fragments(letter(other), sender="c@other.example")
    mixed = [mail for pair in zip(ours, theirs, strict=False) for mail in pair]
    mixed += [mail for mail in ours + theirs if mail not in mixed]
    results = opened(mixed, tmp_path)
    assert [result.status for result in results] == [Status.OK, Status.OK]
    assert sorted(contents(results)) == [len(DATA), len(other)]


def test_a_sender_is_the_same_in_any_case_and_with_any_name(tmp_path: Path) -> None:
    parts = fragments(letter())
    parts[1] = parts[1].replace(b"From: a@partner.example", b'From: "A" <A@Partner.example>', 1)
    (result,) = opened(parts, tmp_path)
    assert result.status is Status.OK


def test_inv8_what_is_missing_is_named_in_proportion_to_what_is_there(tmp_path: Path) -> None:
    """A thousand fragments, each of a mail of its own in ten thousand pieces, named each time."""
    kind = b"From: a@b.example\r\nContent-Type: message/partial; id=%d; number=%d; total=10000\r\n\r\nx"
    results = opened([kind % (ident, number) for ident, number in ((1, 1), (2, 1), (2, 5000))], tmp_path)
    assert [len(result.missing) for result in results] == [MISSING_SHOWN, 2 * MISSING_SHOWN]
    assert [result.set and result.set.total for result in results] == [10_000, 10_000]
    assert results[0].missing[:3] == (2, 3, 4)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"total=", b"total=9"), (b"number=2", b"number=77"), (b"ODk6", b"ODk7")],
    ids=["totals", "number beyond the total", "two different second fragments"],
)
def test_contradicting_fragments_are_refused_whole(old: bytes, new: bytes, tmp_path: Path) -> None:
    parts = fragments(letter())
    changed = parts[1].replace(old, new)
    assert changed != parts[1]
    (result,) = opened([*parts, changed], tmp_path)
    assert (result.status, result.reason) == (Status.ERROR, PARTIAL_INCONSISTENT)
    assert result.objects == ()
    assert len(result.files) == len(parts) + 1


def test_a_hostile_total_is_refused_at_once(tmp_path: Path) -> None:
    parts = fragments(letter())
    bomb = parts[0].replace(b"total=%d" % len(parts), b"total=999999999")
    assert bomb != parts[0]
    (result,) = opened([bomb], tmp_path)
    assert (result.status, result.reason) == (Status.ERROR, RESOURCE_LIMIT)


def test_a_fragment_without_id_is_a_result_of_its_own(tmp_path: Path) -> None:
    parts = fragments(letter())
    nameless = parts[0].replace(b"id=id-1", b"x=y").replace(b'id="id-1"', b"x=y")
    assert nameless != parts[0]
    results = opened([nameless, *parts], tmp_path)
    assert [result.reason for result in results] == [MIME_MALFORMED, None]
    assert results[1].status is Status.OK


def test_fragments_of_fragments_are_joined_from_inside_out(tmp_path: Path) -> None:
    inner = fragments(letter(), limit=9000)
    twice = fragments(inner[1], ident="id-2", limit=5000)
    assert len(twice) > 1
    mixed = [*twice, *inner[:1], *inner[2:]]
    random.Random(7).shuffle(mixed)
    (result,) = opened(mixed, tmp_path)
    assert (result.status, contents([result])) == (Status.OK, [len(DATA)])
    assert len(result.files) == len(mixed)


def test_fragments_nested_without_end_are_refused(tmp_path: Path) -> None:
    mail = letter(bytes(128) + b"DICM" + bytes(300))
    header = b"From: a@partner.example\r\nContent-Type: message/partial; id=i%d; number=1; total=1\r\n\r\n"
    for depth in range(12):
        mail = header % depth + mail
    (result,) = opened([mail], tmp_path)
    assert (result.status, result.reason) == (Status.ERROR, RESOURCE_LIMIT)


def test_a_lost_line_end_is_mended_and_said(tmp_path: Path) -> None:
    parts = fragments(letter())
    (result,) = opened([part.removesuffix(b"\r\n") for part in parts], tmp_path)
    assert result.status is Status.OK
    assert result.warnings[0] == "mended:lost-line-end-at-joint"
    assert contents([result]) == [len(DATA)]


def test_one_bad_group_stops_no_other(tmp_path: Path) -> None:
    good = fragments(letter())
    bad = fragments(letter(DATA + b"x"), ident="id-9")
    bad[1] = bad[1].replace(b"number=2", b"number=99")
    results = opened([*bad, *good], tmp_path)
    assert [result.status for result in results] == [Status.ERROR, Status.OK]
    assert contents(results) == [len(DATA)]
