"""``python -m ohmformer`` is the command line."""

from ohmformer.cli import main

main()
