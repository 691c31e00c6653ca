"""Pieces of the onnxruntime backend: providers, the proof of where nodes ran, memory."""
