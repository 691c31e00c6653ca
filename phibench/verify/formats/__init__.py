"""One file per format: how a small model is written, and read back to be compared."""
