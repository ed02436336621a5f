"""Limits: rules that people set, and exact counters that consume, hold and settle obey."""
