"""What is repeated inside the signed part must agree with the outside (DESIGN 4 "Binding")."""

from collections.abc import Iterator

from radpost.agit.survey import Survey, read_set
from radpost.mime.headers import Headers


def contradictions(outside: Survey, inner: Headers) -> tuple[str, ...]:
    """Return the fields that both the inner header and the outside have, and that differ."""
    return tuple(_contradictions(outside, inner))


def _contradictions(outside: Survey, inner: Headers) -> Iterator[str]:
    sender = inner.addresses("From")
    if sender and sender[0].lower() != outside.from_address.lower():
        yield "From"
    message_id = inner.message_id()
    if message_id and message_id != outside.message_id:
        yield "Message-ID"
    date = inner.date()
    if date is not None and outside.date is not None and date != outside.date:
        yield "Date"
    signed_set = read_set(inner)
    if signed_set and outside.set_info and signed_set.set_id != outside.set_info.set_id:
        yield "SETID"
