"""What is measured of a machine before any model: memory, matrices, disk, each in a child process."""
