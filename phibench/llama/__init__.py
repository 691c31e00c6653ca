"""What phibench does with llama.cpp's API, log and arithmetic; the backend itself is ``backends/llama_cpp.py``."""
