"""What a receipt says: dispositions read and chosen, and the one table from evidence to truths.

Values: @GIT practice 5, RFC 8098 3.2.6, and the older words of RFC 3798 3.2.6 and RFC 2298 3.2.6. ``deleted``
alone is a failure here, although a mail program says it of a mail deleted unread; that is right only for
mails we sent as DICOM e-mail, and only those have a Message-ID we look up.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from radpost.errors import MDN_INVALID, RadpostError
from radpost.words import Truth


class Outcome(Enum):
    """What the partner says about one mail."""

    DONE = "done"
    WARNING = "warning"
    """Stored, with remarks: a part is in quarantine there, or an object was there with other content."""
    ERROR = "error"
    """Nothing stored, a resend can help."""
    REFUSED = "refused"
    """Nothing stored, a resend cannot help."""


class Disposition(Enum):
    """The four values we write (@GIT practice 5)."""

    DISPLAYED = "automatic-action/MDN-sent-automatically;displayed"
    DISPLAYED_WARNING = "automatic-action/MDN-sent-automatically;displayed/warning"
    DELETED_ERROR = "automatic-action/MDN-sent-automatically;deleted/error"
    DELETED = "automatic-action/MDN-sent-automatically;deleted"


@dataclass(frozen=True, slots=True)
class Reading:
    """A disposition read: type and modifiers in lower case, and what they mean."""

    type: str
    modifiers: tuple[str, ...]
    outcome: Outcome


# type -> (meaning without modifier, with "warning", with "error")
_MEANING: dict[str, tuple[Outcome, Outcome, Outcome]] = {
    "displayed": (Outcome.DONE, Outcome.WARNING, Outcome.ERROR),
    "processed": (Outcome.DONE, Outcome.WARNING, Outcome.ERROR),
    "dispatched": (Outcome.DONE, Outcome.WARNING, Outcome.ERROR),
    "deleted": (Outcome.REFUSED, Outcome.REFUSED, Outcome.ERROR),
    "failed": (Outcome.ERROR, Outcome.ERROR, Outcome.ERROR),
    "denied": (Outcome.REFUSED, Outcome.REFUSED, Outcome.REFUSED),
}
_TOKEN = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+\Z")
_MAX_LENGTH = 1000


def read(value: str) -> Reading:
    """Read a Disposition field: ``mode/mode;type[/modifier,...]``, blanks anywhere, any case.

    RFC 3798 3.2.6 has one blank after the semicolon, @GIT senders none; both are read, and so is a value
    without the modes. Unknown modifiers are kept and change nothing (RFC 8098 3.2.6.3). An unknown type
    raises MDN_INVALID: to guess success would close a transmission on nothing.

    >>> read("automatic-action/MDN-sent-automatically; Displayed / Warning").outcome
    <Outcome.WARNING: 'warning'>
    """
    if len(value) > _MAX_LENGTH:
        raise RadpostError(MDN_INVALID, "disposition too long")
    head, sep, tail = value.partition(";")
    word, _, rest = (tail if sep else head).partition("/")
    kind = word.strip().lower()
    modifiers = tuple(m.strip().lower() for m in re.split(r"[,/]", rest) if m.strip())
    if kind not in _MEANING or not all(_TOKEN.match(m) for m in modifiers):
        raise RadpostError(MDN_INVALID, "unknown disposition")
    return Reading(kind, modifiers, interpret(kind, modifiers))


def interpret(kind: str, modifiers: Iterable[str]) -> Outcome:
    """Return what type and modifiers mean together; ``error`` outweighs ``warning``."""
    plain, warning, error = _MEANING[kind.lower()]
    words = {m.lower() for m in modifiers}
    if words & {"error", "failure"}:
        return error
    return warning if "warning" in words else plain


def disposition_for(
    stored: int, quarantined: int, *, remarks: bool = False, resend_can_help: bool = False
) -> Disposition:
    """Return the value to write for one mail (DESIGN 4 "Receipts").

    ``stored`` counts objects that are durably here, also those that were here before; ``remarks`` says that
    one of them came with other content than the one we have (invariant 2).
    """
    if stored and not quarantined:
        return Disposition.DISPLAYED_WARNING if remarks else Disposition.DISPLAYED
    if stored:
        return Disposition.DISPLAYED_WARNING
    return Disposition.DELETED_ERROR if resend_can_help else Disposition.DELETED


class Evidence(Enum):
    """What can be known about a mail's objects, and from where."""

    SMTP_ACCEPTED = "250 of the next hop"
    BOUNCED = "bounce"
    RECEIPT_DONE = "displayed"
    RECEIPT_WARNING_ONE = "displayed/warning, one object in the mail"
    RECEIPT_WARNING_MANY = "displayed/warning, several objects in the mail"
    RECEIPT_FAILED = "deleted, deleted/error"
    FOREIGN_RECEIPT = "receipt of a mail program"


class Answer(Enum):
    """The value of one truth."""

    YES = "yes"
    NO = "no"
    NOT_REPORTED = "not reported by this partner"


TRUTHS: Mapping[Evidence, Mapping[Truth, Answer]] = {
    # SMTP 250 means on the server of the next hop, no more; a bounce takes it back.
    Evidence.SMTP_ACCEPTED: {Truth.ON_SERVER: Answer.YES},
    Evidence.BOUNCED: {Truth.ON_SERVER: Answer.NO},
    # A receipt is evidence of its own that a machine of the partner had the mail. "displayed" of an @GIT
    # partner means imported; it never means that a person opened the study.
    Evidence.RECEIPT_DONE: {Truth.FETCHED: Answer.YES, Truth.IMPORTED: Answer.YES},
    Evidence.RECEIPT_WARNING_ONE: {Truth.FETCHED: Answer.YES, Truth.IMPORTED: Answer.YES},
    # Some of several objects are stored; without a list per object it is not known which.
    Evidence.RECEIPT_WARNING_MANY: {Truth.FETCHED: Answer.YES},
    Evidence.RECEIPT_FAILED: {Truth.FETCHED: Answer.YES, Truth.IMPORTED: Answer.NO},
    # An ordinary mail program shows mails to people; that says nothing about import.
    Evidence.FOREIGN_RECEIPT: {Truth.FETCHED: Answer.YES},
}
"""The one documented table from evidence to truths; what is not named is not inferred (DESIGN 1)."""


def evidence_of(outcome: Outcome, *, objects: int, agit: bool = True) -> Evidence:
    """Return which row of :data:`TRUTHS` a receipt is."""
    if not agit:
        return Evidence.FOREIGN_RECEIPT
    if outcome is Outcome.DONE:
        return Evidence.RECEIPT_DONE
    if outcome is Outcome.WARNING:
        return Evidence.RECEIPT_WARNING_ONE if objects == 1 else Evidence.RECEIPT_WARNING_MANY
    return Evidence.RECEIPT_FAILED


def truths_of(evidence: Evidence) -> dict[Truth, Answer]:
    """Return all seven truths as this evidence alone shows them."""
    known = TRUTHS[evidence]
    return {truth: known.get(truth, Answer.NOT_REPORTED) for truth in Truth}
