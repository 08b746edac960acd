"""Results as DICOM objects: structured report, key objects, captures and heat, for a PACS or a viewer."""
