"""``radpost conformance``: what is kept of which standard, clause by clause, and the DICOM services."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from radpost import __version__
from radpost.cli.common import JsonOption, print_facts, print_json, print_table
from radpost.conformance.clauses import AREAS, Clause, Standard, Status, named, standards
from radpost.conformance.services import DicomStatement, Named, Service, dicom_statement
from radpost.errors import BAD_COMMAND, RadpostError
from radpost.words import Language

_FEW = 8
"""So many UIDs are named in the text; ``--json`` has them all."""

_STATUS = {
    Status.DONE: ("done", "erfüllt"),
    Status.PART: ("part", "teilweise"),
    Status.PLANNED: ("planned", "geplant"),
    Status.NOT: ("not", "nicht"),
    Status.NOT_APPLICABLE: ("n/a", "entfällt"),
}


def conformance(
    standard: Annotated[
        list[str] | None,
        typer.Argument(
            help="Only these: 'rfc2046', 'ps3.8', '@GIT', 'PS3' for all of DICOM.", metavar="STANDARD"
        ),
    ] = None,
    language: Annotated[Language, typer.Option("--lang", help="Language of the statement.")] = "en",
    as_json: JsonOption = False,
) -> None:
    """Print the conformance statement: standards, their clauses, what is kept, and the DICOM services."""
    try:
        chosen = named(standard or ())
    except LookupError as error:
        raise RadpostError(BAD_COMMAND, f"no standard of the statement is called {error.args[0]}") from error
    dicom = dicom_statement() if any(one.area == "dicom" for one in chosen) else None
    if as_json:
        print_json(_document(chosen, dicom, language))
        return
    _print_head(chosen, language)
    for area, title in AREAS.items():
        found = [one for one in chosen if one.area == area]
        if found:
            print(f"\n\n{title[language == 'de'].upper()}")
        for one in found:
            _print_standard(one, language)
        if found and area == "dicom" and dicom is not None:
            _print_dicom(dicom, language)


def _document(
    chosen: tuple[Standard, ...], dicom: DicomStatement | None, language: Language
) -> dict[str, Any]:
    return {
        "product": "Radpost",
        "version": __version__,
        "language": language,
        "standards": [
            {
                "name": one.name,
                "title": one.title.text(language),
                "status": one.status.value,
                "remark": one.why.text(language),
                "clauses": [
                    {
                        "clause": clause.number,
                        "title": clause.title.text(language),
                        "status": clause.status.value,
                        "remark": clause.why.text(language),
                        "rooms": clause.rooms,
                    }
                    for clause in one.clauses
                ],
            }
            for one in chosen
        ],
        "dicom": None if dicom is None else _dicom(dicom, language),
    }


def _dicom(dicom: DicomStatement, language: Language) -> dict[str, Any]:
    values = asdict(dicom)
    for side, services in (("accepting", dicom.accepting), ("requesting", dicom.requesting)):
        values[side] = [
            {**asdict(one), "name": one.name.text(language), "remark": one.remark.text(language)}
            for one in services
        ]
    return values


def _print_head(chosen: tuple[Standard, ...], language: Language) -> None:
    german = language == "de"
    print(f"Radpost {__version__}: {'Konformitätserklärung' if german else 'conformance statement'}")
    clauses = [clause for one in chosen for clause in one.clauses]
    counts = ", ".join(
        f"{sum(clause.status is status for clause in clauses)} {words[german]}"
        for status, words in _STATUS.items()
    )
    if german:
        print(f"{len(chosen)} von {len(standards())} Normen, {len(clauses)} Abschnitte: {counts}")
        print("erfüllt: eingehalten und durch einen Test belegt; teilweise: so weit, wie die Bemerkung sagt")
    else:
        print(f"{len(chosen)} of {len(standards())} standards, {len(clauses)} clauses: {counts}")
        print("done: kept, and a test shows it; part: kept as far as the remark says")


def _print_standard(standard: Standard, language: Language) -> None:
    german = language == "de"
    print(f"\n{standard.name}: {standard.title.text(language)} [{_STATUS[standard.status][german]}]")
    if standard.why:
        print(f"  {standard.why.text(language)}")
    if standard.clauses:
        headings = (
            ("Abschnitt", "Stand", "was", "Bemerkung") if german else ("clause", "status", "what", "remark")
        )
        print_table(headings, [_row(clause, language) for clause in standard.clauses], empty="")


def _row(clause: Clause, language: Language) -> tuple[str, ...]:
    word = _STATUS[clause.status][language == "de"]
    return clause.number, word, clause.title.text(language), clause.why.text(language)


def _print_dicom(dicom: DicomStatement, language: Language) -> None:
    german = language == "de"
    print(f"\n{'DICOM-Dienste (PS3.2 in Kürze)' if german else 'DICOM services (PS3.2 in short)'}")
    limits = f"{dicom.max_associations} ({dicom.max_associations_per_address} / address)"
    print_facts(
        {
            "Implementation Class UID": dicom.implementation_class_uid,
            "Implementation Version Name": dicom.implementation_version_name,
            "Maximum Length": dicom.max_length,
            "Associations": limits.replace("address", "Adresse") if german else limits,
        }
    )
    for side, services in (
        ("nimmt an" if german else "accepts", dicom.accepting),
        ("ruft auf" if german else "requests", dicom.requesting),
    ):
        for one in services:
            _print_service(side, one, german=german, language=language)
    decoded = "Verlustfrei gewandelt werden" if german else "Converted without loss are"
    print(f"\n{decoded}: {_listed(dicom.converted, all_=True)}")


def _print_service(side: str, service: Service, *, german: bool, language: Language) -> None:
    print(f"\n{side}: {service.name.text(language)} ({service.role})")
    print_facts(
        {
            "  SOP-Klassen" if german else "  SOP classes": _listed(service.classes),
            "  Transfersyntaxen" if german else "  transfer syntaxes": _listed(service.syntaxes),
        }
    )
    if service.remark:
        print(f"  {service.remark.text(language)}")


def _listed(found: tuple[Named, ...], *, all_: bool = False) -> str:
    """Name them, or say how many there are."""
    if all_ or len(found) <= _FEW:
        return ", ".join(one.name for one in found)
    return f"{len(found)} (--json)"
