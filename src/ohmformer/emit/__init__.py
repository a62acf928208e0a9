"""Hardware from the specification: SPICE netlists and RTL, and the tools that run them."""
