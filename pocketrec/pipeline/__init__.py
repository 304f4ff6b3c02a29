"""A build from a shop's tables to a bundle, and what is made of a build afterwards: retraining, export, the demo.

What a stage computes lies in `train` and `compress`; here stands which stages there are and what each depends on.
"""
