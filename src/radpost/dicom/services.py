"""Which abstract syntaxes are storage, and which transfer syntaxes need care (PS3.4 B.5, PS3.6 A).

Storage SOP classes appear every year and vendors have their own, so the list is written the other way
round: known services that are *not* storage are refused, whatever else is proposed is taken as storage.
"""

from collections.abc import Sequence

VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
DEFLATED_LE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
JPIP_REFERENCED_DEFLATE = "1.2.840.10008.1.2.4.95"
JPIP_HTJ2K_REFERENCED_DEFLATE = "1.2.840.10008.1.2.4.205"
GE_PRIVATE_IMPLICIT = "1.2.840.113619.5.2"
PAPYRUS_IMPLICIT = "1.2.840.10008.1.20"

IMPLICIT_SYNTAXES = frozenset({IMPLICIT_LE, GE_PRIVATE_IMPLICIT, PAPYRUS_IMPLICIT})
DEFLATED_SYNTAXES = frozenset({DEFLATED_LE, JPIP_REFERENCED_DEFLATE, JPIP_HTJ2K_REFERENCED_DEFLATE})

_LAST_CHOICE = frozenset(
    {
        "1.2.840.10008.1.2.4.94",  # JPIP Referenced: the pixels stay behind on a server
        JPIP_REFERENCED_DEFLATE,
        "1.2.840.10008.1.2.4.204",  # JPIP HTJ2K Referenced
        JPIP_HTJ2K_REFERENCED_DEFLATE,
        EXPLICIT_BE,  # retired in 2006; few receivers take it
        GE_PRIVATE_IMPLICIT,
    }
)

_OTHER_SERVICES = frozenset(
    {
        "1.2.840.10008.1.3.10",  # Media Storage Directory: an index of a medium, not sent by C-STORE
        "1.2.840.10008.5.1.4.1.1.200.4",  # Protocol Approval FIND, MOVE, GET
        "1.2.840.10008.5.1.4.1.1.200.5",
        "1.2.840.10008.5.1.4.1.1.200.6",
        "1.2.840.10008.5.1.4.1.1.201.2",  # Inventory FIND, MOVE, GET, Creation, Repository Query
        "1.2.840.10008.5.1.4.1.1.201.3",
        "1.2.840.10008.5.1.4.1.1.201.4",
        "1.2.840.10008.5.1.4.1.1.201.5",
        "1.2.840.10008.5.1.4.1.1.201.6",
        "1.2.840.10008.5.1.4.33",  # Instance Availability Notification
        "1.2.840.10008.5.1.4.34.8",  # RT Conventional and Ion Machine Verification
        "1.2.840.10008.5.1.4.34.9",
        "1.2.840.10008.5.1.4.41",  # Product Characteristics, Substance Approval
        "1.2.840.10008.5.1.4.42",
    }
)

_OTHER_TREES = (
    "1.2.840.10008.1.",  # verification, commitment, event logging
    "1.2.840.10008.3.1.",  # performed procedure step and retired detached management
    "1.2.840.10008.4.",
    "1.2.840.10008.5.1.1.",  # print management; its storage classes are named below
    "1.2.840.10008.5.1.4.1.2.",  # query/retrieve
    "1.2.840.10008.5.1.4.20.",  # defined procedure protocol FIND, MOVE, GET
    "1.2.840.10008.5.1.4.31",  # modality worklist
    "1.2.840.10008.5.1.4.32.",  # general purpose worklist (retired)
    "1.2.840.10008.5.1.4.34.4.",
    "1.2.840.10008.5.1.4.34.5.",
    "1.2.840.10008.5.1.4.34.6.",  # unified procedure step
    "1.2.840.10008.5.1.4.37.",  # relevant patient information
)

_STORAGE_IN_PRINT = frozenset(
    {
        "1.2.840.10008.5.1.1.27",  # Stored Print Storage (retired)
        "1.2.840.10008.5.1.1.29",  # Hardcopy Grayscale Image Storage (retired)
        "1.2.840.10008.5.1.1.30",  # Hardcopy Color Image Storage (retired)
    }
)

# Hanging protocols, colour palettes and implants have .1 = storage, .2 to .4 = FIND, MOVE, GET.
_PAIRED_TREES = tuple(f"1.2.840.10008.5.1.4.{n}." for n in (38, 39, 43, 44, 45))


def is_storage(abstract_syntax: str) -> bool:
    """Say whether objects of this class are taken by C-STORE: all but known other services."""
    if abstract_syntax in _STORAGE_IN_PRINT:
        return True
    if abstract_syntax in _OTHER_SERVICES or abstract_syntax.startswith(_OTHER_TREES):
        return False
    if abstract_syntax.startswith(_PAIRED_TREES):
        return abstract_syntax.endswith(".1")
    return bool(abstract_syntax)


def choose_transfer_syntax(proposed: Sequence[str]) -> str:
    """Choose one transfer syntax of a presentation context: the sender's first.

    A sender names first what its objects are in; taking another could make it transcode, with loss at
    worst. Only syntaxes that leave the pixels elsewhere (JPIP) or that hardly anybody can pass on are
    taken last, when nothing else is proposed in the same context.
    """
    for uid in proposed:
        if uid not in _LAST_CHOICE:
            return uid
    return proposed[0]
