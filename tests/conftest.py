"""What every test runs under: one torch thread, no network, no random seeds."""

import os

os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TRANSFORMERS_OFFLINE="1",
    TOKENIZERS_PARALLELISM="false",
)

import hypothesis
import torch

torch.set_num_threads(1)

# Derandomised: the same examples in every run, so that a red test is red again.
hypothesis.settings.register_profile("house", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("house")
