"""The hand-written BERT-Large program for every test of this room."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from ohmformer.ir import Program

_SPEC = importlib.util.spec_from_file_location("bert_large", Path(__file__).with_name("bert_large.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)


@pytest.fixture(scope="session")
def bert_large() -> Callable[..., Program]:
    """``bert_large(tokens, layers=24, batch=1)``."""
    made: Callable[..., Program] = _MODULE.bert_large
    return made
