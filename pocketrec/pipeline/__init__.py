"""A build from a shop's tables to a bundle, and what uses its results: retraining, export, the demo.

This package declares the stages and what each depends on. What a stage computes is in `train` and `compress`.
"""
