"""What ends a command without being an error of anyone."""

__all__ = ["PipeClosed"]


class PipeClosed(Exception):
    """The reader of standard output went away."""
