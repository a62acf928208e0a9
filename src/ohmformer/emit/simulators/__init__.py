"""Simulators and synthesis tools, run as programs."""
