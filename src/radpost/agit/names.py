"""The one table of literal header names and values of DICOM e-mail; nothing else spells them.

Sources: @GIT 1.1r 5.2 (STUDYID); @GIT practice 1 and 4 (the rest). No name is invented here.
"""

from typing import Final

STUDY_ID: Final = "X-TELEMEDICINE-STUDYID"
SET_ID: Final = "X-TELEMEDICINE-SETID"
SET_PART: Final = "X-TELEMEDICINE-SETPART"
SET_TOTAL: Final = "X-TELEMEDICINE-SETTOTAL"
ORIGINAL_CONTENT_ID: Final = "X-TELEMEDICINE-ORIGINAL-CONTENT-ID"
NOTIFICATION_KEY_ID: Final = "X-TELEMEDICINE-DISPOSITION-NOTIFICATION-KEYID"
NOTIFICATION_TO: Final = "X-TELEMEDICINE-DISPOSITION-NOTIFICATION-TO"
REPORT: Final = "X-TELEMEDICINE-REPORT"

DISPOSITION_NOTIFICATION_TO: Final = "Disposition-Notification-To"
"""RFC 8098 2.1; @GIT practice 3 (mechanism 1)."""

ALIAS_SET_ID: Final = "x-dicom-msg-setid"
ALIAS_SET_INDEX: Final = "x-dicom-msg-setindex"
"""The names of the draft (QCIT 1), read as aliases and never written; the index is ``part/total``."""

SUBJECT: Final = "DICOM-eMail"
"""@GIT practice 6; written, and never looked at in reading."""
DICOM_TYPE: Final = "application/dicom"
RECEIPT_DETAILS_TYPE: Final = "application/vnd.radpost.receipt+json"
"""Between Radpost peers: what became of each object, inside the signed receipt."""
