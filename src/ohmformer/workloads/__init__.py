"""Models and tasks: load them, run them, measure them; nothing here knows of chips."""

from ohmformer.workloads.batches import Progress
from ohmformer.workloads.cache import default_cache_dir
from ohmformer.workloads.classify import (
    class_order,
    classifier_logits,
    predict_classifier,
    predict_with_head,
)
from ohmformer.workloads.encode import embed
from ohmformer.workloads.finetune import finetune_classifier
from ohmformer.workloads.heads import LogisticHead, train_head
from ohmformer.workloads.language import (
    RollingScore,
    perplexity,
    rolling_log_likelihood,
    token_nll,
)
from ohmformer.workloads.language_choices import ChoiceResult, evaluate_choices, score_choices
from ohmformer.workloads.language_generation import generate_text
from ohmformer.workloads.language_tasks import (
    ChoiceQuestion,
    MultipleChoiceTask,
    TextTask,
    load_choices,
    load_text,
)
from ohmformer.workloads.metrics import (
    Metric,
    PairedDifference,
    accuracy_interval,
    matthews_correlation,
    paired_difference,
    perplexity_difference,
    perplexity_interval,
)
from ohmformer.workloads.models import (
    LoadedModel,
    check_finite,
    load_config,
    load_model,
    sequence_limit,
)
from ohmformer.workloads.packages import EmbeddedModel, embedded_models
from ohmformer.workloads.tasks import ClassificationSplit, TextClassificationTask, load_classification

__all__ = [
    "ChoiceQuestion",
    "ChoiceResult",
    "ClassificationSplit",
    "EmbeddedModel",
    "LoadedModel",
    "LogisticHead",
    "Metric",
    "MultipleChoiceTask",
    "PairedDifference",
    "Progress",
    "RollingScore",
    "TextClassificationTask",
    "TextTask",
    "accuracy_interval",
    "check_finite",
    "class_order",
    "classifier_logits",
    "default_cache_dir",
    "embed",
    "embedded_models",
    "evaluate_choices",
    "finetune_classifier",
    "generate_text",
    "load_choices",
    "load_classification",
    "load_config",
    "load_model",
    "load_text",
    "matthews_correlation",
    "paired_difference",
    "perplexity",
    "perplexity_difference",
    "perplexity_interval",
    "predict_classifier",
    "predict_with_head",
    "rolling_log_likelihood",
    "score_choices",
    "sequence_limit",
    "token_nll",
    "train_head",
]
