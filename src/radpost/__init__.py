"""Radpost: radiology studies by encrypted e-mail (DICOM e-mail).

Public functions that need neither gateway nor database: ``radpost.open_mails``, ``radpost.pack``,
``radpost.check``.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from radpost.mails.checking.api import Checked, check
    from radpost.mails.opening import open_mails
    from radpost.mails.packing import pack
    from radpost.mails.results import OpenedMails

__all__ = ["Checked", "OpenedMails", "__version__", "check", "open_mails", "pack"]

__version__ = "0.1.0"

_OFFLINE = {
    "Checked": "radpost.mails.checking.results",
    "OpenedMails": "radpost.mails.results",
    "check": "radpost.mails.checking.api",
    "open_mails": "radpost.mails.opening",
    "pack": "radpost.mails.packing",
}
"""Public names and where they are; ``import radpost`` stays cheap (PEP 562)."""


def __dir__() -> list[str]:
    """Name the public functions too, for consoles that complete names."""
    return sorted({*globals(), *_OFFLINE})


def __getattr__(name: str) -> object:
    """Import a public name when it is asked for."""
    if name not in _OFFLINE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415  only then

    return getattr(importlib.import_module(_OFFLINE[name]), name)
