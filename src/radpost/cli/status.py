"""``radpost status``: is all well, and if not, what must be done by whom."""

import time
from dataclasses import asdict

from radpost.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    ago,
    opened,
    print_facts,
    print_json,
    print_reasons,
    print_table,
    size,
)
from radpost.gateway.overview import Line, Overview, Retrieval, advice, overview
from radpost.gateway.phrases import say


def status(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show the gateway's state: servers, what is overdue, alarms, quarantine, the last transmissions."""
    with opened(config) as site:
        view = overview(site)
        language = site.config.institution.language
    hints = advice(view, language)
    if as_json:
        print_json({**asdict(view), "advice": hints, "overdue_total": view.overdue.total})
        return
    now = time.time()
    print_facts(_facts(view))
    if hints:
        print("\nTo do:")
        for hint in hints:
            print(f"  {hint}")
    if view.alarms:
        print(f"\nOpen alarms: {len(view.alarms)}")
        print_reasons(view.alarms)
        print(f"  {say('alarm-seen', language)}")
    print("\nServers and destinations" + ("" if view.running else " (as they were when the gateway ran):"))
    print_table(
        ("kind", "name", "address", "state", "since", "waiting", "failed", "said last"),
        [_line(line, now) for line in view.lines],
        empty="  none configured",
    )
    if view.collecting:
        print("\nBeing collected (sent when complete):")
        print_table(
            ("partner", "study", "objects", "age", "closes in"),
            [
                (row.partner, row.study_uid, row.objects, ago(row.opened_at, now), _until(row.due_at, now))
                for row in view.collecting
            ],
            empty="",
        )
    if view.retrievals:
        print("\nOrdered from our PACS:")
        print_table(
            ("order", "study", "for", "state", "tries", "next try", "code"),
            [_retrieval(row, now) for row in view.retrievals],
            empty="",
        )
    print("\nSent last:")
    print_table(
        ("age", "partner", "objects", "size", "confirmed", "state", "transmission"),
        [
            (
                ago(row.created_at, now),
                row.partner,
                row.objects,
                size(row.bytes),
                f"{row.mails_confirmed}/{row.mails} mails",
                row.state,
                row.id,
            )
            for row in view.sent
        ],
        empty="  nothing yet",
    )
    print("\nReceived last:")
    print_table(
        ("age", "partner", "objects", "state", "set"),
        [(ago(row.last_at, now), row.partner, row.objects, row.state, row.id) for row in view.received],
        empty="  nothing yet",
    )


def _facts(view: Overview) -> dict[str, object]:
    share = 100 * view.quarantine_bytes / max(1, view.quarantine_limit)
    overdue = view.overdue
    late = [
        (overdue.receipts, "receipts"),
        (overdue.incomplete_sets, "incomplete sets"),
        (overdue.mail_servers, "mails that no server has taken yet"),
        (overdue.deliveries, "objects not delivered"),
        (overdue.unplaced, "objects without a destination"),
    ]
    facts: dict[str, object] = {
        "institution": f"{view.institution} <{view.address}>",
        "gateway": "running" if view.running else "NOT RUNNING",
        "overdue": ", ".join(f"{count} {name}" for count, name in late if count) or "nothing",
        "sending": _counted(view.sending),
        "receiving": _counted(view.receiving),
        "quarantine": f"{view.quarantine_entries} mails, {size(view.quarantine_bytes)} ({share:.0f} % full)"
        + (f"; {view.quarantine_foreign} of them are not ours" if view.quarantine_foreign else ""),
        "free space": size(view.disk_free),
    }
    if view.foreign_removed:
        facts["removed"] = f"{view.foreign_removed} mails that were not ours, after their time in quarantine"
    if view.foreign:
        stay = ", ".join(f"{count} mails in {name}" for name, count in view.foreign.items())
        facts["not ours"] = f"{stay} (radpost mailbox list)"
    return facts


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "nothing yet"


def _line(line: Line, now: float) -> tuple[object, ...]:
    return (
        line.kind,
        line.name,
        line.address,
        line.state,
        ago(line.since, now),
        line.waiting or "",
        line.failed or "",
        line.said,
    )


def _retrieval(row: Retrieval, now: float) -> tuple[object, ...]:
    return (
        row.number,
        row.study_uid,
        row.partner,
        row.state,
        row.attempts,
        _until(row.due_at, now),
        row.code or "",
    )


def _until(at: float | None, now: float) -> str:
    return "" if at is None else "now" if at <= now else ago(at, now)
