"""Set headers, study ids and addresses: read from any header block, written as they were read."""

from fuzz.mutation import mail_mutator
from fuzz.seeds import MAILS, SET, reference_mails
from fuzz.target import Target
from radpost.agit.survey import (
    MAX_SET_ID,
    MAX_SET_TOTAL,
    SetInfo,
    first_address,
    is_answer,
    is_study_uid,
    read_set,
    study_uid,
)
from radpost.errors import RadpostError
from radpost.mime.folding import block
from radpost.mime.headers import Headers, parse_block
from radpost.mime.partial import repeated

WORDS = (
    b"X-TELEMEDICINE-SETID: " + b"i" * 256,
    b"X-TELEMEDICINE-SETPART: 0001",
    b"X-TELEMEDICINE-SETPART: x",
    b"X-TELEMEDICINE-SETTOTAL: 999999999",
    b"x-telemedicine-setid:",
    b"x-dicom-msg-setindex: 1 / 2 ",
    b"x-dicom-msg-setindex: 3/2",
    b"X-TELEMEDICINE-STUDYID: <1.2.3>",
    b'X-TELEMEDICINE-STUDYID: "1.2.3"',
    b"X-TELEMEDICINE-STUDYID: 1..2",
    b"Auto-Submitted: auto-replied (rejected)",
    b"From: (((((((",
    b"From: <<a@b>>, c@d",
)


def check(data: bytes) -> None:
    """Read a header block; what was understood is written and understood again."""
    try:
        found = parse_block(data, complete=True)
    except RadpostError:
        return
    assert 0 <= found.size <= len(data)
    headers = found.headers
    info = read_set(headers)
    assert info == read_set(headers)
    if info is not None:
        assert 1 <= len(info.set_id) <= MAX_SET_ID
        assert info.set_id == info.set_id.strip()
        for number in (info.part, info.total):
            assert number is None or 1 <= number <= MAX_SET_TOTAL
        again(info)
    uid = study_uid(headers)
    assert uid == "" or is_study_uid(uid)
    assert len(uid) <= 64
    for name in ("From", "Disposition-Notification-To"):
        address = first_address(headers, name)
        assert not address or "@" in address
    is_answer(headers)
    repeats(headers)


def again(info: SetInfo) -> None:
    """Write the set headers as a letter does."""
    fields = [("X-TELEMEDICINE-SETID", info.set_id)]
    if info.part is not None:
        fields.append(("X-TELEMEDICINE-SETPART", str(info.part)))
    if info.total is not None:
        fields.append(("X-TELEMEDICINE-SETTOTAL", str(info.total)))
    if not info.set_id.isascii():
        return  # an opaque token; ours are ASCII
    try:
        text = block(fields)
    except ValueError:
        return  # control characters are never written
    assert read_set(parse_block(text, complete=True).headers) == info or "  " in info.set_id


def repeats(headers: Headers) -> None:
    """What fragments repeat is set headers and nothing else."""
    for name, _ in repeated(headers):
        assert name.lower().startswith(("x-telemedicine-set", "x-dicom-msg-"))


TARGET = Target(
    name="sets",
    rooms=("radpost.mime.headers", "radpost.mime.params", "radpost.mime.folding", "radpost.agit"),
    check=check,
    seeds=lambda: (SET, *MAILS, *reference_mails("agit")),
    mutate=mail_mutator(WORDS, MAILS),
)
