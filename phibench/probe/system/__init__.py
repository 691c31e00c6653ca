"""The host: processor, memory, limits of this process, what the operating system counts."""
