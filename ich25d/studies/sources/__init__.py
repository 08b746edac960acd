"""What the user named, as a list of files and their bytes."""
