"""Certificates for everybody: to look at, to take along, and to check, with the keys that signed them."""
