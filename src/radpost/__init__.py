"""Radpost: radiology studies by encrypted e-mail (DICOM e-mail)."""

__version__ = "0.1.0"
