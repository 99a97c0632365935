"""Stored results become tables, figures and a one-file HTML page. Nothing here computes a new number."""
