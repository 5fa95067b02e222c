"""DICOM files become series: grouped by their UIDs, told apart where a UID holds several things, never merged."""

from attending.imaging.dicom.dicomdir import is_dicomdir, referenced_files
from attending.imaging.dicom.group import read_dicom

__all__ = ["is_dicomdir", "read_dicom", "referenced_files"]
