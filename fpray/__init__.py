"""fpray: what a biometric model gives away about the people behind it."""

__version__ = '0.1.0'
