"""What the benchmarks share. Run the files one folder up, or all of them with `make bench`."""
