"""The command line: arguments in, one verb, text out."""

from ohmformer.cli.running import main, run

__all__ = ["main", "run"]
