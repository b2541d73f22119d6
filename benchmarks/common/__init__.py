"""What the benchmarks of several folders share."""
