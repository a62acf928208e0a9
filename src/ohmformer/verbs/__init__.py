"""The verbs: evaluate, tolerate, generate, estimate, demonstrate."""

from ohmformer.verbs.amplitudes import AmplitudeResult, measure_amplitudes
from ohmformer.verbs.compiling import Compilation, compile_model, program_from
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
from ohmformer.verbs.generation_costs import GenerationCosts, estimate_generation
from ohmformer.verbs.journal import Journal
from ohmformer.verbs.timelines import write_timeline
from ohmformer.verbs.tolerating import ToleranceResult, tolerate
from ohmformer.verbs.trials import Trial, choices_trial, classifier_trial, head_trial, perplexity_trial

__all__ = [
    "FP32",
    "AmplitudeResult",
    "Compilation",
    "DemoResult",
    "EstimateResult",
    "EvaluationResult",
    "GeneratedText",
    "GenerationCosts",
    "GenerationResult",
    "Journal",
    "Score",
    "Setup",
    "ToleranceResult",
    "Trial",
    "choices_trial",
    "classifier_trial",
    "compile_model",
    "demonstrate",
    "document",
    "estimate",
    "estimate_generation",
    "evaluate_classifier",
    "evaluate_head",
    "evaluate_multiple_choice",
    "evaluate_perplexity",
    "generate",
    "head_trial",
    "layer_deviations",
    "measure_amplitudes",
    "perplexity_trial",
    "plain",
    "program_from",
    "program_of",
    "tolerate",
    "versions",
    "write_document",
    "write_timeline",
]
