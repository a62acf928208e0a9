"""How fast and how small the simulated chip runs, as ratios to the original model in the same run.

Kept free of imports: the programs of peers run from here in their own environments.
"""
