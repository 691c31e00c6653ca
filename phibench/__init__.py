"""phibench: which Phi variant, quantization and backend fits this machine."""

__version__ = "0.1.0"
