"""Tiny models of many kinds, of random weights over single letters, each written as its makers would save it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    Router,
    StaticEmbedding,
    Transformer,
)
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import (
    AutoModel,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    ModernBertConfig,
    MPNetConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
    RobertaConfig,
    T5Config,
    T5EncoderModel,
    set_seed,
)

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
VOCABULARY = {
    piece: place for place, piece in enumerate([*SPECIALS, *LETTERS, *(f"##{letter}" for letter in LETTERS), "a:"])
}
SIZES = {"vocab_size": len(VOCABULARY), "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}
LAYERS = {"num_hidden_layers": 2, "max_position_embeddings": 64, "pad_token_id": 0}
DECODER = {"num_key_value_heads": 2, "head_dim": 8, "bos_token_id": 2, "eos_token_id": 3}
PROMPTS = {"query": "find: ", "document": "page: "}


def tokenizer(*, side: str = "right", pads: bool = True, limit: int | None = 32) -> PreTrainedTokenizerFast:
    """A tokenizer into letters, between [CLS] and [SEP]."""
    made = Tokenizer(WordPiece(VOCABULARY, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.decoder = decoders.WordPiece()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names: dict[str, Any] = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    names |= {"pad_token": "[PAD]"} if pads else {"eos_token": "[SEP]"}
    names |= {"model_max_length": limit} if limit else {}
    return PreTrainedTokenizerFast(tokenizer_object=made, padding_side=side, **names)


def network(config: PretrainedConfig, folder: Path, **tokens: Any) -> Path:
    """A plain transformers folder."""
    set_seed(0)
    made = T5EncoderModel(config) if isinstance(config, T5Config) else AutoModel.from_config(config)
    made.save_pretrained(folder)
    tokenizer(**tokens).save_pretrained(folder)
    return folder


def encoder(config: PretrainedConfig, folder: Path, *, pooling: Any = "mean", **tokens: Any) -> list[Any]:
    """A transformer and its pooling."""
    transformer = Transformer(str(network(config, folder / "source", **tokens)))
    return [transformer, Pooling(transformer.get_embedding_dimension(), pooling_mode=pooling)]


def bert(**settings: Any) -> BertConfig:
    """The config of a tiny BERT."""
    return BertConfig(**SIZES, **{**LAYERS, **settings})


def save(folder: Path, modules: list[Any], **settings: Any) -> None:
    """Writes a model as the library does."""
    model = SentenceTransformer(modules=modules, device="cpu", **settings)
    model.save_pretrained(str(folder / "model"), create_model_card=False)


def _write_half(folder: Path, dtype: torch.dtype) -> None:
    modules = encoder(bert(), folder)
    save(folder, [module.to(dtype) for module in modules])


def _write_dense(folder: Path) -> None:
    save(folder, [*encoder(bert(), folder), Dense(32, 16), Normalize()], similarity_fn_name="dot")


def _write_without_prompt(folder: Path) -> None:
    transformer, _ = encoder(bert(), folder)
    save(folder, [transformer, Pooling(32, pooling_mode="mean", include_prompt=False)], prompts=PROMPTS)


def _write_router(folder: Path) -> None:
    documents = encoder(bert(), folder)
    set_seed(1)
    queries = [StaticEmbedding(tokenizer()._tokenizer, embedding_dim=32)]
    save(folder, [Router.for_query_document(query_modules=queries, document_modules=documents)])


def _write_two_encoders(folder: Path) -> None:
    queries, documents = encoder(bert(), folder / "q"), encoder(bert(num_hidden_layers=1), folder / "d")
    save(folder, [Router.for_query_document(query_modules=queries, document_modules=documents), Normalize()])


def _write_static(folder: Path) -> None:
    set_seed(0)
    save(folder, [StaticEmbedding(tokenizer()._tokenizer, embedding_dim=32)])


def _write_plain(folder: Path) -> None:
    network(bert(), folder / "model")


def _of(config: Callable[[], PretrainedConfig], *, pooling: Any = "mean", **settings: Any) -> Callable[[Path], None]:
    tokens = {name: settings.pop(name) for name in ("side", "pads", "limit") if name in settings}
    return lambda folder: save(folder, encoder(config(), folder, pooling=pooling, **tokens), **settings)


def _modern() -> ModernBertConfig:
    ids = {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
    return ModernBertConfig(**SIZES, **{**LAYERS, "num_hidden_layers": 6}, **ids, local_attention=8)


def _gemma() -> Gemma3TextConfig:
    return Gemma3TextConfig(**SIZES, **{**LAYERS, "num_hidden_layers": 6}, **DECODER, sliding_window=8)


def _t5() -> T5Config:
    return T5Config(vocab_size=len(VOCABULARY), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)


KINDS: dict[str, tuple[Callable[[Path], None], dict[str, Any]]] = {
    "BERT, mean": (_of(bert), {}),
    "BERT, first token, cut": (
        _of(lambda: bert(num_hidden_layers=4, initializer_range=0.1), pooling="cls"),
        {"keep_layers": (0, 3)},
    ),
    "BERT, maximum": (_of(bert, pooling="max"), {"max_seq_length": 16}),
    "BERT, two poolings": (_of(bert, pooling=("mean", "weightedmean")), {}),
    "BERT in float16": (lambda folder: _write_half(folder, torch.float16), {}),
    "BERT in bfloat16": (lambda folder: _write_half(folder, torch.bfloat16), {}),
    "BERT without modules": (_write_plain, {}),
    "dot products": (_of(bert, similarity_fn_name="dot"), {}),
    "euclidean distances": (_of(bert, similarity_fn_name="euclidean"), {}),
    "manhattan distances": (_of(bert, similarity_fn_name="manhattan"), {}),
    "cut dimensions": (_of(bert, truncate_dim=12), {}),
    "cut dimensions, dot products": (_of(bert, truncate_dim=12, similarity_fn_name="dot"), {}),
    "prompts": (_of(bert, prompts=PROMPTS), {}),
    "prompts under other names": (_of(bert, prompts={"query": "find: ", "passage": "page: "}), {}),
    "prompts of the study": (_of(bert), {"prompts": PROMPTS}),
    "prompts outside of the pooling": (_write_without_prompt, {}),
    "Dense and Normalize": (_write_dense, {}),
    "Router, static and BERT": (_write_router, {}),
    "Router, two encoders": (_write_two_encoders, {}),
    "StaticEmbedding": (_write_static, {}),
    "RoBERTa": (
        _of(lambda: RobertaConfig(**SIZES, **{**LAYERS, "max_position_embeddings": 34}), limit=None),
        {},
    ),
    "MPNet": (_of(lambda: MPNetConfig(**SIZES, **LAYERS)), {}),
    "DistilBERT": (_of(lambda: DistilBertConfig(vocab_size=len(VOCABULARY), dim=32, n_layers=2, n_heads=4)), {}),
    "ELECTRA": (_of(lambda: ElectraConfig(**SIZES, **LAYERS, embedding_size=16)), {}),
    "ModernBERT, cut": (_of(_modern), {"keep_layers": (0, 1, 4)}),
    "T5": (_of(_t5), {}),
    "Qwen3, cut": (
        _of(
            lambda: Qwen3Config(**SIZES, **{**LAYERS, "num_hidden_layers": 4}, **DECODER),
            pooling="lasttoken",
            side="left",
        ),
        {"keep_layers": (0, 2)},
    ),
    "Gemma 3, cut": (_of(_gemma), {"keep_layers": (0, 5)}),
    "Llama without a padding token": (
        _of(lambda: LlamaConfig(**SIZES, **{**LAYERS, "pad_token_id": None}, **DECODER), pads=False),
        {"pad_token": "[SEP]"},
    ),
    "GPT-2": (
        _of(
            lambda: GPT2Config(vocab_size=len(VOCABULARY), n_embd=32, n_layer=2, n_head=4, n_positions=64),
            pooling="lasttoken",
        ),
        {},
    ),
}
"""How each kind is written below a folder as ``model``, and the settings of the study file that it takes."""
