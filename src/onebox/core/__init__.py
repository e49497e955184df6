"""Words every layer shares: settings, errors, contracts, results, plugin tables.

Imports nothing of ours.
"""
