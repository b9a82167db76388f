"""``radpost show``: one transmission with all that is known of it, seven truths per object."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from radpost.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    moment,
    opened,
    print_facts,
    print_json,
    print_reasons,
    print_table,
    size,
    span,
    tell,
)
from radpost.errors import NOT_FOUND, RadpostError
from radpost.gateway import arrived, views
from radpost.gateway.arrived import ArrivedView, DeliveryView
from radpost.gateway.site import Site
from radpost.gateway.views import Step, TransmissionView, TruthView
from radpost.store import lookups
from radpost.words import Truth

FULL = 60
"""So many objects stand in the table one by one; beyond, only what differs, unless --all is said."""
_MANY = 20
_WORDS = {"not reported by this partner": "-"}


def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="TRANSMISSION",
            help="SETID or its beginning, mail:NUMBER, a Message-ID, or a Study Instance UID.",
        ),
    ],
    all_: Annotated[bool, typer.Option("--all", help="Every object, however many.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show a transmission: truths per object, mails, what servers said, timeline, and why it is not done."""
    with opened(config) as site:
        found = _find(site, name)
    if as_json:
        print_json([asdict(view) for view in found] if len(found) > 1 else asdict(found[0]))
        return
    if len(found) > _MANY:
        print(f"{len(found)} transmissions; the newest {_MANY}:\n")
    for number, view in enumerate(found[:_MANY]):
        if number:
            print("\n" + "-" * 80 + "\n")
        if isinstance(view, TransmissionView):
            _print_sent(view, everything=all_)
        else:
            _print_received(view, everything=all_)


def _find(site: Site, name: str) -> list[TransmissionView | ArrivedView]:
    found: list[TransmissionView | ArrivedView] = []
    if not name.startswith(arrived.PREFIX):
        with site.database.read() as connection:
            rows = lookups.transmissions_named(connection, name)
            rows = rows or lookups.transmissions_with_message_id(connection, name)
        found.extend(views.transmission(site, row) for row in rows)
    found.extend(arrived.find(site, name))
    if not found:
        raise RadpostError(NOT_FOUND, f"transmission '{name}'; see 'radpost status'")
    return found


def _print_sent(view: TransmissionView, *, everything: bool) -> None:
    print_facts(
        {
            "sent to": view.partner,
            "transmission": view.id,
            "state": view.state,
            "study": view.study_uid,
            "objects": f"{view.objects}, {size(view.bytes)} in {view.mails} mails",
            "priority": view.priority,
            "came by": view.source,
            "since": moment(view.created_at),
            "ended": moment(view.ended_at),
        }
    )
    for linked in view.linked[:_MANY]:
        tell(f"same study: {linked}")
    _print_reasons(view)
    print("\nObjects: what is known of each ('-': not reported by this partner)")
    _print_truths(
        [
            (f"{item.part}/{view.mails}", item.sop_instance_uid or "document", item.truths, ())
            for item in view.object_list
        ],
        everything=everything,
    )
    print("\nMails:")
    rows = [
        (
            f"{mail.part}/{mail.total}",
            mail.state,
            mail.objects,
            size(mail.size),
            mail.resends or "",
            moment(mail.on_server_at),
            moment(mail.reported_at),
            mail.disposition.rpartition(";")[2].strip(),
            moment(mail.due_at) if mail.state == "on server" else "",
            mail.code or "",
        )
        for mail in view.mail_list
    ]
    headings = (
        "mail",
        "state",
        "objects",
        "size",
        "resent",
        "on server",
        "reported",
        "receipt",
        "receipt due",
        "code",
    )
    print_table(headings, rows if everything else rows[:FULL], empty="  none")
    _print_submissions(view, everything=everything)
    if view.stages:
        print("\nSeconds per stage:")
        print_facts({f"  {stage.name}": span(stage.seconds) for stage in view.stages})
    _print_timeline(view.timeline, everything=everything)


def _print_submissions(view: TransmissionView, *, everything: bool) -> None:
    """Print what servers said; when all is accepted the last words are enough."""
    pending = [item for item in view.submissions if item.state != "accepted" or item.reply == views.BOUNCED]
    shown = view.submissions if everything else pending or view.submissions[-1:]
    if not shown:
        return
    print("\nOn the wire" + (":" if everything or pending else " (all accepted; the last one):"))
    print_table(
        ("mail", "piece", "state", "size", "tries", "next try", "the server said"),
        [
            (
                item.part,
                f"{item.piece}/{item.pieces}",
                item.state,
                size(item.size),
                item.attempts or "",
                moment(item.due_at),
                item.reply,
            )
            for item in shown[:FULL]
        ],
        empty="",
    )


def _print_received(view: ArrivedView, *, everything: bool) -> None:
    print_facts(
        {
            "received from": view.partner or "unknown",
            "set": view.id,
            "state": view.state,
            "study": view.study_uid,
            "objects": view.objects,
            "mails": f"{view.mails_here} of {view.mails} are here",
            "first": moment(view.first_at),
            "last": moment(view.last_at),
        }
    )
    if view.missing:
        print("missing mails: " + ", ".join(map(str, view.missing)))
    _print_reasons(view)
    print("\nObjects: what is known of each ('-': not known here)")
    _print_truths(
        [
            (item.part or item.arrival, item.sop_instance_uid or "document", item.truths, item.deliveries)
            for item in view.object_list
        ],
        everything=everything,
    )
    print("\nMails:")
    rows = [
        (
            mail.arrival,
            mail.part or "",
            mail.kind,
            mail.state,
            size(mail.size),
            moment(mail.received_at),
            mail.source,
            mail.signature,
            "; ".join(mail.receipts),
            mail.code or "",
        )
        for mail in view.mail_list
    ]
    headings = ("mail", "part", "kind", "state", "size", "received", "by", "signature", "receipt", "code")
    print_table(headings, rows if everything else rows[:FULL], empty="  none")
    _print_timeline(view.timeline, everything=everything)


def _print_reasons(view: TransmissionView | ArrivedView) -> None:
    waits = view.waits_for if isinstance(view, TransmissionView) else ()
    if view.reasons or waits:
        print("\nWhy:")
    print_reasons(view.reasons)
    for sentence in waits:
        tell(f"  {sentence}")


_Row = tuple[object, str, Mapping[str, TruthView], Sequence[DeliveryView]]


def _print_truths(rows: Sequence[_Row], *, everything: bool) -> None:
    """Print the table of objects; of a long one only the kinds that differ, with how many there are."""
    truths = [truth.value for truth in Truth]
    delivered = any(row[3] for row in rows)
    headings = ["mail", "object", *truths, *(["delivered to"] if delivered else [])]
    if everything or len(rows) <= FULL:
        table = [
            [
                part,
                name,
                *(_truth(found[truth]) for truth in truths),
                *([_places(places)] if delivered else []),
            ]
            for part, name, found, places in rows
        ]
    else:
        kinds: dict[tuple[str, ...], int] = {}
        for _, _, found, places in rows:
            kind = (*(_word(found[truth]) for truth in truths), *([_states(places)] if delivered else []))
            kinds[kind] = kinds.get(kind, 0) + 1
        table = [["", f"{count} objects", *kind] for kind, count in kinds.items()]
    print_table(headings, table, empty="  none")
    evidence = {item.evidence for _, _, found, _ in rows for item in found.values() if item.evidence}
    if evidence:
        tell("evidence: " + "; ".join(sorted(evidence)[:10]))
    if len(rows) > FULL and not everything:
        print("(--all shows every object)")


def _word(truth: TruthView) -> str:
    return _WORDS.get(truth.answer, truth.answer)


def _truth(truth: TruthView) -> str:
    clock = moment(truth.at)[11:19]
    return f"{_word(truth)} {clock}".strip()


def _places(deliveries: Sequence[DeliveryView]) -> str:
    return ", ".join(
        f"{item.destination or 'no destination'}: {item.state}"
        + (f" {item.status}" if item.status not in {"", "0000"} else "")
        + (" (converted)" if item.changed else "")
        for item in deliveries
    )


def _states(deliveries: Sequence[DeliveryView]) -> str:
    return ", ".join(f"{item.destination or 'no destination'}: {item.state}" for item in deliveries)


def _print_timeline(steps: Sequence[Step], *, everything: bool) -> None:
    if not steps:
        return
    print("\nTimeline:")
    shown = steps if everything or len(steps) <= FULL else (*steps[: FULL // 2], *steps[-FULL // 2 :])
    print_table(
        ("at", "after", "what", "mails", "detail"),
        [
            (
                moment(step.at),
                span(step.seconds),
                step.what + (f" (code {step.code})" if step.code is not None else ""),
                step.count if step.count > 1 else "",
                step.detail + (f" until {moment(step.last_at)[11:19]}" if step.last_at else ""),
            )
            for step in shown
        ],
        empty="",
    )
