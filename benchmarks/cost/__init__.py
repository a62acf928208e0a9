"""How long costing takes: own work, re-estimates, sweeps, and ZigZag beside."""
