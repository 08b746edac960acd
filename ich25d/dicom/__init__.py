"""From the bytes of one file to its header and int16 HU, and from headers to series in scan order."""
