"""Volumes of medical scanners: DICOM series and NIfTI files, as arrays on grids in the patient."""
