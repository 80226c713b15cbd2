"""Signed statements of a plugin's public numbers, as evidence for supervisors and funders."""
