"""pydicom, imported when it is needed and made silent.

The import costs 20 MB and 0.2 s, and the bulk path does without. pydicom's warnings and log lines quote
values of the data set, which may be patient data (DESIGN invariant 10), so none may leave the library.
"""

import logging
import warnings
from types import ModuleType


def pydicom() -> ModuleType:
    """Return the library, quiet, and tolerant of values that break the rules of their VR."""
    import pydicom as library  # noqa: PLC0415  heavy, see above
    from pydicom import config  # noqa: PLC0415

    config.settings.reading_validation_mode = config.IGNORE
    config.settings.writing_validation_mode = config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"pydicom\.")
    return library
