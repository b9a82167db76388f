"""Bounces: delivery status notifications (RFC 3464) and the free text that some servers send instead."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from radpost.mime.coding import Buffer
from radpost.mime.headers import Headers, message_ids, parse_block
from radpost.mime.mdn import address, reported
from radpost.mime.reader import Entity, content

_STATUS_TYPES: Final = ("message/delivery-status", "message/global-delivery-status")
_RETURNED_TYPES: Final = ("message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers")
_LIMIT: Final = 256 * 1024
_MAX_RECIPIENTS: Final = 1000
_SUCCESSES: Final = frozenset({"delivered", "relayed", "expanded"})
_GROUPS: Final = re.compile(rb"(?>\r*\n|\r)[ \t]*(?>\r*\n|\r)\s*")
_STATUS: Final = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")
_ADDRESS: Final = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[A-Za-z0-9][A-Za-z0-9.-]{0,250}[A-Za-z0-9]")


class BounceClass(Enum):
    """What a bounce means for the one who must act."""

    MAILBOX_FULL = "mailbox-full"
    TOO_LARGE = "too-large"
    UNKNOWN_ADDRESS = "unknown-address"
    POLICY = "policy"
    DELAYED = "delayed"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class RecipientStatus:
    """One per-recipient group (RFC 3464 2.3), or one address of a free-text bounce."""

    address: str | None
    final_recipient: str | None
    """As written, with its address type; None in free text."""
    original_recipient: str | None
    action: str | None
    status: str | None
    diagnostic: str
    kind: BounceClass

    @property
    def failed(self) -> bool:
        """Whether delivery was given up; delayed, delivered, relayed and expanded are no failures."""
        return self.action == "failed" or (self.action is None and self.kind is not BounceClass.DELAYED)


@dataclass(frozen=True, slots=True)
class Dsn:
    """A bounce as it came. Whether it is about a mail of ours is for others to say."""

    rfc3464: bool
    recipients: tuple[RecipientStatus, ...]
    original_message_id: str | None
    """The innermost id: servers that add or wrap put theirs before it."""
    message_ids: tuple[str, ...]
    """All ids that the returned message or header names."""
    envid: str | None
    reporting_mta: str | None

    @property
    def kind(self) -> BounceClass:
        """The class of the first failed recipient, else of the first."""
        failed = [item.kind for item in self.recipients if item.failed]
        others = [item.kind for item in self.recipients]
        return next(iter(failed + others), BounceClass.OTHER)

    @property
    def is_success(self) -> bool:
        """Whether it only tells that the mail went on: delivered, relayed or expanded (RFC 3464 2.3.3)."""
        return bool(self.recipients) and all(item.action in _SUCCESSES for item in self.recipients)


def parse_dsn(root: Entity, buffer: Buffer) -> Dsn | None:
    """Return the bounce in a mail, or None if it is none."""
    status = next((item for item in reported(root) if item.content_type in _STATUS_TYPES), None)
    if status is None:
        return _free_text(root, buffer)
    raw = content(status, buffer, _LIMIT).strip(b"\r\n")
    split = _GROUPS.split(raw, _MAX_RECIPIENTS)
    groups = [parse_block(group, complete=True).headers for group in split]
    about = groups[0] if groups else Headers()  # RFC 3464 2.2
    recipients = [_recipient(group) for group in groups if _is_recipient(group)][:_MAX_RECIPIENTS]
    ids = tuple(dict.fromkeys(_returned_ids(root, buffer)))
    own = message_ids(about.get("X-Original-Message-ID") or about.get("Original-Message-ID") or "")
    return Dsn(
        rfc3464=True,
        recipients=tuple(recipients),
        original_message_id=(ids or own or (None,))[-1],
        message_ids=tuple(dict.fromkeys(ids + own)),
        envid=about.get("Original-Envelope-Id"),
        reporting_mta=address(about.get("Reporting-MTA")),
    )


def _is_recipient(group: Headers) -> bool:
    return "Final-Recipient" in group or ("Action" in group and "Original-Recipient" in group)


def _recipient(group: Headers) -> RecipientStatus:
    """Read Action and Status (RFC 3464 2.3.3, 2.3.4) and what stands beside them."""
    action = (group.get("Action") or "").split("(")[0].strip().lower() or None
    found = _STATUS.search(group.get("Status") or "")
    status = found[0] if found else None
    diagnostic = (group.get("Diagnostic-Code") or "").partition(";")[2].strip()[:1000]
    final = group.get("Final-Recipient")
    return RecipientStatus(
        address=address(final) or address(group.get("Original-Recipient")),
        final_recipient=final,
        original_recipient=address(group.get("Original-Recipient")),
        action=action,
        status=status,
        diagnostic=diagnostic,
        kind=BounceClass.DELAYED if action == "delayed" else classify(status, diagnostic),
    )


def _returned_ids(root: Entity, buffer: Buffer) -> Iterator[str]:
    """Yield the Message-IDs of what a report returns, from the outside in (RFC 6522 3)."""
    for entity in root.walk():
        if entity.content_type not in _RETURNED_TYPES or entity is root:
            continue
        if entity.children:
            found = entity.children[0].headers.get("Message-ID")
        else:
            block = content(entity, buffer, _LIMIT).lstrip(b"\r\n")
            found = parse_block(block, complete=True).headers.get("Message-ID")
        yield from message_ids(found or "")


_BY_STATUS: Final = (
    (BounceClass.MAILBOX_FULL, re.compile(r"[45]\.2\.2")),
    (BounceClass.TOO_LARGE, re.compile(r"[45]\.(2\.3|3\.4)")),
    (BounceClass.UNKNOWN_ADDRESS, re.compile(r"[45]\.(1\.[012346]|1\.10|2\.1)")),
    (BounceClass.POLICY, re.compile(r"[45]\.7\.\d+")),
)
"""Classes of enhanced status codes (RFC 3463 3)."""

_BY_TEXT: Final = (
    (
        BounceClass.MAILBOX_FULL,
        re.compile(
            r"mailbox\b.{0,40}\bfull|(over|exceed\w{0,5})\b.{0,30}quota|quota\b.{0,30}(exceed|full|überschritten)"
            r"|postfach\b.{0,40}\bvoll|insufficient (disk )?(storage|quota)",
            re.IGNORECASE,
        ),
    ),
    (
        BounceClass.TOO_LARGE,
        re.compile(
            r"(message|mail|size)\b.{0,40}(too (large|big)|exceed\w{0,5}|zu groß)"
            r"|exceed\w{0,5}.{0,40}(message|mail)? ?size|SizeLimit",
            re.IGNORECASE,
        ),
    ),
    (
        BounceClass.UNKNOWN_ADDRESS,
        re.compile(
            r"(user|recipient|address|mailbox|account|empfänger|host|domain)\b.{0,60}"
            r"(unknown|not (recognized|found|listed)|does ?n[o']t exist|unavailable|unbekannt|disabled"
            r"|rejected)"
            r"|(unknown|no such|invalid) (local )?(user|recipient|address|mailbox|host|domain)"
            r"|unrouteable",
            re.IGNORECASE,
        ),
    ),
    (
        BounceClass.POLICY,
        re.compile(
            r"spam|virus|blocked|blacklist|policy|denied|forbidden|prohibited|relay|SPF\b|DKIM|DMARC"
            r"|rejected|not accepted|not allowed|not permitted|please use the smtp server",
            re.IGNORECASE,
        ),
    ),
    (
        BounceClass.DELAYED,
        re.compile(
            r"delayed|will (be retried|retry|keep trying)|not (yet )?been delivered .{0,60}after"
            r"|attempts will continue|verzögert|noch nicht zugestellt",
            re.IGNORECASE,
        ),
    ),
)


def classify(status: str | None, diagnostic: str) -> BounceClass:
    """Tell the class by the enhanced status code, or where that is vague (x.0.0) by the server's words."""
    codes = [status] if status else []
    codes += [match[0] for match in _STATUS.finditer(diagnostic)]
    for code in codes:
        for kind, pattern in _BY_STATUS:
            if pattern.fullmatch(code):
                return kind
    return next((kind for kind, pattern in _BY_TEXT if pattern.search(diagnostic)), BounceClass.OTHER)


_SUBJECT: Final = re.compile(
    r"^\s*(undeliver(ed|able)|unzustellbar|nicht zustellbar|mail delivery|mail system error|returned mail"
    r"|delivery (status )?(notification|failure|has failed)|(permanent |message )delivery failure"
    r"|failure notice|warning: (message|could)|unable to deliver|(message|mail) (undeliverable|delayed)"
    r"|message status\b.{0,10}undeliverable|(zustellung|übermittlung)\b.{0,40}(fehl|nicht))",
    re.IGNORECASE,
)
_DAEMON: Final = re.compile(
    r"mailer-daemon|postmaster|mail delivery|system administrator|mdaemon", re.IGNORECASE
)
_COPY: Final = re.compile(
    r"^[ ]{0,4}-{2,80}[^\n]{0,30}(copy of (the|your) (message|headers)|(original|unsent|returned) message)"
    r"|^(original message headers|message headers follow|below this line is a copy)"
    r"|^-{3,80} ursprüngliche nachricht",
    re.IGNORECASE | re.MULTILINE,
)
_FAILED: Final = re.compile(
    r"(following )?(address|recipient)\S{0,5}[^\n]{0,40}\b(failed|reach|delivered|delayed)"
    r"|did not reach the following recipient|delivery to the following recipient"
    r"|(wasn't able to|unable to|could not) (deliver|be delivered)|undeliverable recipient"
    r"|was not delivered to"
    r"|(empfänger|adresse)\S{0,5}[^\n]{0,40}nicht",
    re.IGNORECASE,
)
_ID_LINE: Final = re.compile(
    r"^Message-ID:[ \t]*(?:\n[ \t]+)?(<[^<>\n]{1,900}>)", re.IGNORECASE | re.MULTILINE
)


def _free_text(root: Entity, buffer: Buffer) -> Dsn | None:
    """Understand bounces of Exim, Exchange, Outlook and their like that have no machine-readable part."""
    failed = [item for value in root.headers.get_all("X-Failed-Recipients") for item in value.split(",")]
    daemon = _DAEMON.search(root.headers.get("From") or "") or root.headers.get("Return-Path") == "<>"
    if not failed and not (daemon and _SUBJECT.search(root.headers.text("Subject") or "")):
        return None
    leaf = next((item for item in reported(root) if item.content_type == "text/plain"), None)
    raw = content(leaf, buffer, _LIMIT) if leaf is not None else b""
    text = raw.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    copy = _COPY.search(text)
    report, returned = (text[: copy.start()], text[copy.end() :]) if copy else (text, "")
    addresses: Sequence[str] = [item.strip() for item in failed if item.strip()]
    addresses = addresses or _failed_addresses(report) or _other_addresses(report, root.headers)
    ids = [*_returned_ids(root, buffer), *_ID_LINE.findall(returned)]
    answered = root.headers.get("In-Reply-To") or root.headers.get("References") or ""
    ids = ids or list(message_ids(answered))
    whole = classify(None, " ".join(report[:8000].split())[:4000])
    named = addresses[:_MAX_RECIPIENTS] or ("",)
    return Dsn(
        rfc3464=False,
        recipients=tuple(_free_recipient(item, report, whole) for item in named),
        original_message_id=ids[-1] if ids else None,
        message_ids=tuple(dict.fromkeys(ids)),
        envid=None,
        reporting_mta=None,
    )


def _failed_addresses(report: str) -> list[str]:
    """Take the addresses behind the sentence that says who was not reached."""
    match = _FAILED.search(report)
    return list(dict.fromkeys(_ADDRESS.findall(report, match.end())))[:_MAX_RECIPIENTS] if match else []


def _other_addresses(report: str, headers: Headers) -> list[str]:
    """Take every address of a report that has no sentence we know, but the sender's and those of servers."""
    known = {item.lower() for name in ("To", "From") for item in headers.addresses(name)}
    found = dict.fromkeys(_ADDRESS.findall(report))
    return [item for item in found if item.lower() not in known and not _DAEMON.match(item)]


def _free_recipient(recipient: str, report: str, whole: BounceClass) -> RecipientStatus:
    """Read what stands behind an address; where that says nothing, what the whole report says counts."""
    start = report.find(recipient) if recipient else -1
    behind = start + len(recipient)
    paragraph = report[behind : behind + 4000].strip("\n :").split("\n\n")[0] if start >= 0 else ""
    diagnostic = " ".join(paragraph.split())[:1000]
    kind = classify(None, diagnostic)
    if kind is BounceClass.OTHER:
        kind = whole
    return RecipientStatus(recipient or None, None, None, None, None, diagnostic, kind)
