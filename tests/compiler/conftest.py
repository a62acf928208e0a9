"""Small programs with data flow for every test of this room."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def flows() -> ModuleType:
    """The module ``flows`` beside this file."""
    spec = importlib.util.spec_from_file_location("flows", Path(__file__).with_name("flows.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
