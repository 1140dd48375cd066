"""Measurements beside real peers: `make bench BENCH=name` runs `bench/bench_<name>.py`.

Each prints a table and writes `bench/results/<name>.json`.
"""
