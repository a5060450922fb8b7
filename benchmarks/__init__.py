"""The benchmarks: python benchmarks/run.py.

SPDX-License-Identifier: MIT
"""
