"""The institution's own PACS asked for a study: C-FIND, C-MOVE, C-GET (PS3.4 C; Study Root).

It stands on our own client and not on pynetdicom, which costs 70 MB of memory by its import alone and
holds whole objects in memory.
"""

from radpost.dicom.find import (
    ImageEntry,
    SeriesEntry,
    StudyEntry,
    find,
    find_images,
    find_series,
    find_study,
)
from radpost.dicom.retrieve import GetResult, GotFile, MoveResult, Progress, Taker, get_study, move_study

__all__ = [
    "GetResult",
    "GotFile",
    "ImageEntry",
    "MoveResult",
    "Progress",
    "SeriesEntry",
    "StudyEntry",
    "Taker",
    "find",
    "find_images",
    "find_series",
    "find_study",
    "get_study",
    "move_study",
]
