"""The study store on disk, and a volume's file in it."""
