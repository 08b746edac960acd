"""The one place that runs work in other processes, of this machine or of a cluster."""
