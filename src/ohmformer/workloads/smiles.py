"""A tokenizer for chemical reactions in SMILES notation, from a vocabulary file alone.

SMILES: Weininger, J. Chem. Inf. Comput. Sci. 28 (1988) 31; syntax after the OpenSMILES specification 1.0.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from ohmformer.errors import UserError, reason_of

__all__ = ["SMILES_TOKEN", "smiles_tokenizer"]

# One alternative a line, longest first; what none of them matches becomes [UNK].
SMILES_TOKEN = "|".join(
    (
        r"\[[^\]]+\]",  # bracket atom with its isotope, chirality and charge: [C@@H], [O-]
        r"Br|Cl",  # organic atoms of two letters
        r"[BCNOPSFIbcnops]",  # organic atoms of one letter, small if aromatic
        r"%[0-9]{2}|[0-9]",  # ring closures
        r"[-=#$:/\\~]",  # bonds
        r">>|>",  # reaction arrow
        r"[().+@?*]",  # branches, molecule separator and the rest of the alphabet
    )
)


def smiles_tokenizer(vocabulary: Path, max_tokens: int) -> PreTrainedTokenizerFast:
    """Build ``[CLS] token token ... [SEP]`` with one vocabulary entry a line, as BERT counts them."""
    try:
        entries = vocabulary.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read the vocabulary {vocabulary}: {reason_of(error)}.") from error
    ids = {entry: index for index, entry in enumerate(entries)}
    missing = [special for special in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if special not in ids]
    if missing:
        raise UserError(f"The vocabulary {vocabulary} lacks the token {missing[0]}.")
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(SMILES_TOKEN), behavior="isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_tokens,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
