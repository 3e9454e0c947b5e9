"""What the service costs, as ratios within one run: ``make bench``, or ``python -m benchmarks [names] [--quick]``."""
