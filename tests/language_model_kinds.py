"""Tiny language models of random weights over bytes, each written as its makers would save it."""

from __future__ import annotations

from pathlib import Path

from model_kinds import DECODER, LAYERS, SIZES
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    set_seed,
)


def write_language_model(folder: Path, *, is_causal: bool = True) -> Path:
    """A model of random weights over bytes, as its makers would save it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: place for place, piece in enumerate(["<pad>", "<s>", "</s>", *alphabet])}
    made = Tokenizer(BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    tokens = {"pad_token": "<pad>"} if not is_causal else {}
    PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>", **tokens).save_pretrained(folder)
    set_seed(0)
    sizes = {**SIZES, "vocab_size": len(vocabulary)}
    if is_causal:
        positions = {**LAYERS, "max_position_embeddings": 1024, "pad_token_id": None}
        model = LlamaForCausalLM(LlamaConfig(**sizes, **positions, **DECODER))
    else:
        model = T5ForConditionalGeneration(
            T5Config(
                vocab_size=len(vocabulary),
                d_model=32,
                d_kv=8,
                d_ff=64,
                num_layers=2,
                num_heads=4,
                pad_token_id=0,
                decoder_start_token_id=0,
                eos_token_id=2,
            )
        )
    for parameter in model.parameters():
        parameter.data *= 3.0  # so that the likeliest token is far ahead, and rounding changes none
    model.save_pretrained(folder)
    return folder
