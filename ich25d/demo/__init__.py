"""The whole walk on phantom heads, from DICOM to a picture."""
