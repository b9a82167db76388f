"""The table of all rules, and how they are put to a mail."""

from collections.abc import Iterator
from typing import Final

from radpost.mails.checking import (
    armoring,
    bounces,
    encodings,
    encrypting,
    entities,
    files,
    groups,
    headers,
    media,
    message,
    multiparts,
    naming,
    partials,
    practice,
    receipts,
    sealing,
    signing,
    telemedicine,
)
from radpost.mails.checking.model import Finding, Layer, Rule, Scope, Verdict
from radpost.mails.checking.scene import Scene

_SINGLE: Final[tuple[Rule, ...]] = (
    *message.RULES,
    *headers.RULES,
    *entities.RULES,
    *encodings.RULES,
    *multiparts.RULES,
    *naming.RULES,
    *partials.RULES,
    *sealing.RULES,
    *signing.RULES,
    *armoring.RULES,
    *encrypting.RULES,
    *telemedicine.RULES,
    *practice.RULES,
    *media.RULES,
    *files.RULES,
    *receipts.RULES,
    *bounces.RULES,
)
RULES: Final = (*_SINGLE, *groups.RULES)
"""All rules, also those about several mails."""
MOST: Final = 10
"""So many places of one rule are listed; the others are counted."""


def judge(scene: Scene, file: str) -> tuple[Finding, ...]:
    """Put all rules to all trees of a mail; the heaviest findings come first."""
    found = [finding for layer in scene.layers for finding in _layer(layer, file)]
    return tuple(sorted(found, key=lambda one: -one.weight))


def _layer(layer: Layer, file: str) -> Iterator[Finding]:
    for rule in _SINGLE:
        if rule.scope is Scope.OUTSIDE and layer.inside:
            continue
        if rule.scope is Scope.INSIDE and not layer.inside:
            continue
        hits = rule.check(layer)
        if not hits:
            verdict = Verdict.NOT_APPLICABLE if hits is None else Verdict.KEPT
            yield Finding(rule, verdict, file, layer.inside)
            continue
        for number, hit in enumerate(hits[:MOST]):
            yield Finding(
                rule=rule,
                verdict=rule.verdict(hit),
                file=file,
                inside=layer.inside,
                at=hit.at,
                line=layer.line(hit.at),
                place=layer.place(hit.entity),
                within=layer.within,
                hit=hit,
                more=len(hits) - MOST if number == MOST - 1 and len(hits) > MOST else 0,
            )
