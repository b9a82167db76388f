"""What an SMTP server says and what it means for a mail; sans-I/O.

RFC 5321 4.2 (replies), RFC 3463 2 and RFC 5248 (enhanced status codes), RFC 1870 (SIZE), RFC 3030 (CHUNKING).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from radpost.errors import (
    ADDRESS_UNKNOWN,
    MAIL_REFUSED,
    MAIL_REFUSED_TEMPORARILY,
    MAIL_TOO_LARGE,
    MAILBOX_FULL,
    SERVER_PROTOCOL,
    Reason,
)
from radpost.transport.failure import TransportError, sanitise

_LINE = re.compile(rb"^([2-5][0-9]{2})([ -]?)(.*)$", re.DOTALL)
_WHOLE = 16 * 1024
_ENHANCED = re.compile(r"^([245])\.(\d{1,3})\.(\d{1,3})(?:\s+|$)")
_FULL = re.compile(r"quota|mailbox (is )?full", re.IGNORECASE)
_LARGE = re.compile(r"size|too (big|large)|exceed", re.IGNORECASE)
_UNKNOWN = re.compile(r"unknown|no such|not exist|not found|no mailbox|invalid recipient", re.IGNORECASE)


class Stage(Enum):
    """How far the dialogue about a mail came."""

    BEFORE = "before"
    MAIL = "mail"
    RCPT = "rcpt"
    BODY = "body"
    END = "end"


class Kind(Enum):
    """What became of a mail."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    REFUSED = "refused"
    TOO_LARGE = "too-large"
    UNCERTAIN = "uncertain"
    """The connection was lost after the end of data: repeat the same bytes under the same Message-ID."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply; ``text`` is sanitised, of bounded length and without codes, ``lines`` are whole."""

    code: int
    enhanced: str | None
    text: str
    lines: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether the command was done (2xx)."""
        return 200 <= self.code < 300

    @property
    def permanent(self) -> bool:
        """Whether repeating it cannot help (5xx)."""
        return self.code >= 500

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code), self.enhanced, self.text) if part)


def parse_line(line: bytes) -> tuple[int, bool, str]:
    """Return code, whether more lines follow, and the rest of a reply line."""
    match = _LINE.match(line)
    if match is None:
        raise TransportError(SERVER_PROTOCOL, "not an SMTP reply", reply=sanitise(line))
    return int(match[1]), match[2] == b"-", sanitise(match[3], longest=_WHOLE)


def make_reply(code: int, lines: Sequence[str]) -> Reply:
    """Join a reply's lines; the enhanced code stands on every line (RFC 2034 4), the first one counts."""
    match = _ENHANCED.match(lines[0]) if lines else None
    enhanced = match.group(0).strip() if match and match[1] == str(code)[0] else None
    bare = [_ENHANCED.sub("", line, count=1) if enhanced else line for line in lines]
    return Reply(code, enhanced, sanitise(" ".join(bare)), tuple(lines))


@dataclass(frozen=True, slots=True)
class Features:
    """What EHLO offered."""

    pipelining: bool = False
    chunking: bool = False
    dsn: bool = False
    starttls: bool = False
    size: int | None = None
    """The largest mail; None if not announced or without limit."""
    size_known: bool = False
    auth: frozenset[str] = frozenset()


def parse_features(reply: Reply) -> Features:
    """Read the lines of an EHLO reply (RFC 5321 4.1.1.1); the first one is the greeting."""
    found = Features()
    auth: set[str] = set()
    for line in reply.lines[1:]:
        words = line.upper().replace("AUTH=", "AUTH ").split()
        match words[:1]:
            case ["PIPELINING"]:
                found = replace(found, pipelining=True)
            case ["CHUNKING"]:
                found = replace(found, chunking=True)
            case ["DSN"]:
                found = replace(found, dsn=True)
            case ["STARTTLS"]:
                found = replace(found, starttls=True)
            case ["SIZE"]:
                found = replace(found, size_known=True, size=_limit(words[1:]))
            case ["AUTH"]:
                auth.update(words[1:])
            case _:
                pass
    return replace(found, auth=frozenset(auth))


def _limit(words: Sequence[str]) -> int | None:
    # RFC 1870 3: at most 20 digits; 0 and nothing mean that no limit is known.
    good = bool(words) and len(words[0]) <= 20 and words[0].isascii() and words[0].isdecimal()
    return (int(words[0]) or None) if good else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one submission; a value, never an exception."""

    kind: Kind
    stage: Stage
    reply: Reply | None = None
    reason: Reason | None = None
    detail: str = ""
    limit: int | None = None
    """With TOO_LARGE: the largest size the server takes, if it said so."""
    chunked: bool = False
    """Whether the body went by BDAT."""
    null_sender_refused: bool = False
    """The server takes no null sender: use the account's address, Auto-Submitted and NOTIFY=NEVER."""

    @property
    def accepted(self) -> bool:
        """Whether the server took responsibility for the mail."""
        return self.kind is Kind.ACCEPTED


def judge(reply: Reply, stage: Stage, *, null_sender: bool = False, limit: int | None = None) -> Outcome:
    """Return what a reply means for the mail."""
    if reply.good:
        return Outcome(Kind.ACCEPTED, stage, reply)
    if not reply.permanent:
        full = reply.enhanced == "4.2.2" or (reply.enhanced is None and bool(_FULL.search(reply.text)))
        return Outcome(Kind.DEFERRED, stage, reply, MAILBOX_FULL if full else MAIL_REFUSED_TEMPORARILY)
    if _too_large(reply, stage):
        return Outcome(Kind.TOO_LARGE, stage, reply, MAIL_TOO_LARGE, limit=limit)
    if reply.enhanced == "5.2.2" or (reply.code == 552 and reply.enhanced in (None, "5.0.0")):
        return Outcome(Kind.REFUSED, stage, reply, MAILBOX_FULL)
    if null_sender and _about_sender(reply, stage):
        return Outcome(Kind.REFUSED, stage, reply, MAIL_REFUSED, null_sender_refused=True)
    return Outcome(Kind.REFUSED, stage, reply, ADDRESS_UNKNOWN if _no_such(reply, stage) else MAIL_REFUSED)


def _too_large(reply: Reply, stage: Stage) -> bool:
    # 552 is both "message too big" and "mailbox full" in RFC 5321; the enhanced code tells them apart.
    if reply.enhanced in ("5.3.4", "5.2.3"):
        return True
    if reply.enhanced not in (None, "5.0.0", "5.7.0") or reply.code not in (552, 523):
        return False
    if _FULL.search(reply.text):
        return False
    return stage is not Stage.RCPT or bool(_LARGE.search(reply.text))


def _about_sender(reply: Reply, stage: Stage) -> bool:
    # Postfix delays its verdict on the sender to RCPT, Exchange to the end of data.
    if stage is Stage.MAIL or reply.enhanced in ("5.1.7", "5.1.8", "5.7.60"):
        return True
    return "sender" in reply.text.lower() or "send as" in reply.text.lower()


def _no_such(reply: Reply, stage: Stage) -> bool:
    if reply.enhanced is not None:
        return reply.enhanced in ("5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1", "5.4.4")
    return stage is Stage.RCPT and reply.code in (550, 551, 553) and bool(_UNKNOWN.search(reply.text))


def bdat_unusable(reply: Reply) -> bool:
    """Tell whether a reply to BDAT is about the command, not about the mail."""
    return reply.code in (500, 501, 502, 503, 504, 555) or (reply.enhanced or "").startswith("5.5.")
