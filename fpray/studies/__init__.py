"""Experiments from data to report: named configurations, the stages they are made of, and the numbers they end with."""
