"""Signed statements of a plugin's public numbers, for those who have to convince a supervisor or a funder."""
