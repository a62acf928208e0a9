"""A Hugging Face model put on the chip."""

from ohmformer.deploy.coverage import CoverageRow
from ohmformer.deploy.deploying import deploy
from ohmformer.deploy.state import OnChip, on_chip
from ohmformer.deploy.tracing import max_tokens, shape_model, trace

__all__ = ["CoverageRow", "OnChip", "deploy", "max_tokens", "on_chip", "shape_model", "trace"]
