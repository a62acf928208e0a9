"""The verbs: evaluate, generate, estimate, demonstrate."""

from ohmformer.verbs.demonstrating import DemoResult, demonstrate
from ohmformer.verbs.deviation import layer_deviations
from ohmformer.verbs.documents import document, plain, versions, write_document
from ohmformer.verbs.estimating import EstimateResult, estimate, program_of
from ohmformer.verbs.evaluating import (
    FP32,
    EvaluationResult,
    Score,
    Setup,
    evaluate_classifier,
    evaluate_head,
    evaluate_multiple_choice,
    evaluate_perplexity,
)
from ohmformer.verbs.generating import GeneratedText, GenerationResult, generate
from ohmformer.verbs.journal import Journal

__all__ = [
    "FP32",
    "DemoResult",
    "EstimateResult",
    "EvaluationResult",
    "GeneratedText",
    "GenerationResult",
    "Journal",
    "Score",
    "Setup",
    "demonstrate",
    "document",
    "estimate",
    "evaluate_classifier",
    "evaluate_head",
    "evaluate_multiple_choice",
    "evaluate_perplexity",
    "generate",
    "layer_deviations",
    "plain",
    "program_of",
    "versions",
    "write_document",
]
