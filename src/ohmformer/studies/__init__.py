"""Many costed chips side by side: which encodings are worth building, and when."""

from ohmformer.studies.encoding_study import CONDITIONS, Condition, EncodingStudy, Outcome, study_encodings
from ohmformer.studies.encodings import Encoding, encoding_points, exact_points
from ohmformer.studies.loss import loss
from ohmformer.studies.pareto import pareto

__all__ = [
    "CONDITIONS",
    "Condition",
    "Encoding",
    "EncodingStudy",
    "Outcome",
    "encoding_points",
    "exact_points",
    "loss",
    "pareto",
    "study_encodings",
]
