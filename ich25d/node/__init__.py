"""A node among DICOM machines: scans in, predicted, results back to a PACS and onto a page."""
