"""Metrics, logs and limits: what every room reports to and none depends on."""
