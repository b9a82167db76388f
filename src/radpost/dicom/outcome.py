"""What an answer means for an object: statuses of C-STORE in classes (PS3.4 B.2.3, PS3.7 C.1, C.4, C.5)."""

from dataclasses import dataclass
from enum import Enum

from radpost import errors
from radpost.dicom import dimse
from radpost.dicom.access import Rejection
from radpost.errors import RadpostError, Reason


class Outcome(Enum):
    """The classes of answers; what to do differs, not what happened."""

    STORED = "stored"
    STORED_WITH_REMARK = "stored-with-remark"
    OUT_OF_RESOURCES = "out-of-resources"
    REFUSED = "refused"
    FAILED = "failed"

    @property
    def stored(self) -> bool:
        """Whether the peer has the object."""
        return self in {Outcome.STORED, Outcome.STORED_WITH_REMARK}

    @property
    def retryable(self) -> bool:
        """Whether the same object may be taken later."""
        return self in {Outcome.OUT_OF_RESOURCES, Outcome.FAILED}


def classify(status: int) -> Outcome:
    """Return the class of a C-STORE status.

    ``Duplicate SOP Instance`` (0111H) counts as stored with a remark: deliveries happen at least once, and
    a PACS that answers so has an object of this identity.
    """
    if status == dimse.SUCCESS:
        return Outcome.STORED
    if 0xB000 <= status <= 0xBFFF or status in {0x0001, 0x0107, dimse.DUPLICATE_SOP_INSTANCE, 0x0116}:
        return Outcome.STORED_WITH_REMARK
    if 0xA700 <= status <= 0xA7FF or status == 0x0213:
        return Outcome.OUT_OF_RESOURCES
    if status == dimse.PROCESSING_FAILURE:
        return Outcome.FAILED
    return Outcome.REFUSED


@dataclass(frozen=True, slots=True)
class StoreReply:
    """The peer's answer to one C-STORE; ``comment`` is its own text (may hold patient data: never log).

    ``padded``: the data set had an odd length and went out with a NUL byte more.
    """

    status: int
    outcome: Outcome
    comment: str = ""
    padded: bool = False

    @property
    def reason(self) -> Reason | None:
        """The row of the table of reasons, None if the object is stored."""
        if self.outcome.stored:
            return None
        if self.outcome is Outcome.OUT_OF_RESOURCES:
            return errors.PACS_OUT_OF_RESOURCES
        return errors.PACS_REFUSED_OBJECT


class AssociationError(RadpostError):
    """No association, or it ended early.

    ``retryable`` says whether trying again can help; ``established`` that the association was open and ended
    while it was used, so that the object in transfer may be the cause and not the line.
    """

    def __init__(
        self, reason: Reason, detail: str, *, retryable: bool, rejection: Rejection | None = None
    ) -> None:
        super().__init__(reason, detail)
        self.retryable = retryable
        self.rejection = rejection
        self.established = False
