from __future__ import annotations

import numpy as np
import pytest
from model_kinds import DECODER, KINDS, LAYERS, SIZES, bert, encoder, save, tokenizer
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Router, StaticEmbedding
from transformers import GPT2Config, LlamaConfig, ModernBertConfig, RobertaConfig

from sweep.errors import ModelError
from sweep.settings.study_file import ModelSpec, PromptsSpec
from sweep.training.models import load_base_model, load_model, prepare_base_model, save_model, stored_precision

LONG = "a b c d e f g h i j k l m n o p q r s t u v w x y z " * 4


def load(folder, **settings):
    return load_base_model(ModelSpec(base="./model", **settings), folder)


def roberta():
    return RobertaConfig(**SIZES, **{**LAYERS, "max_position_embeddings": 34})


class TestLength:
    def test_a_model_reads_no_more_tokens_than_it_has_positions_behind_the_padding(self, tmp_path):
        save(tmp_path, encoder(roberta(), tmp_path, limit=34))
        base = load(tmp_path)
        assert base.model.max_seq_length == 33
        assert base.changes == ("reads 33 tokens of a text instead of 34: it has no more positions",)
        assert np.isfinite(base.model.encode(LONG)).all()

    def test_the_untouched_model_fails_on_such_a_text(self, tmp_path):
        save(tmp_path, encoder(roberta(), tmp_path, limit=34))
        with pytest.raises((IndexError, RuntimeError), match=r"index out of|expanded size|out of bounds"):
            SentenceTransformer(str(tmp_path / "model"), device="cpu").encode(LONG)

    def test_more_tokens_than_positions_are_refused(self, tmp_path):
        save(tmp_path, encoder(roberta(), tmp_path, limit=34))
        with pytest.raises(ModelError, match=r"model.max_seq_length: 34 is above the base model's 33"):
            load(tmp_path, max_seq_length=34)

    def test_static_embeddings_have_no_length_to_limit(self, tmp_path):
        save(tmp_path, [StaticEmbedding(tokenizer()._tokenizer, embedding_dim=32)])
        with pytest.raises(ModelError, match=r"model.max_seq_length: .* any length; leave the key out"):
            load(tmp_path, max_seq_length=16)


class TestPadding:
    def test_a_tokenizer_without_a_padding_token_is_refused_with_the_key_to_set(self, tmp_path):
        save(
            tmp_path, encoder(LlamaConfig(**SIZES, **{**LAYERS, "pad_token_id": None}, **DECODER), tmp_path, pads=False)
        )
        with pytest.raises(ModelError, match=r"^model.pad_token: .* no padding token; .* end-of-text token '\[SEP\]'$"):
            load(tmp_path)
        with pytest.raises(ModelError, match=r"model.pad_token: .* has no token '</s>'"):
            load(tmp_path, pad_token="</s>")
        base = load(tmp_path, pad_token="[SEP]")
        assert base.changes == ("pads with '[SEP]'",)
        assert base.model.tokenizer.pad_token == "[SEP]"

    def test_a_model_whose_embeddings_depend_on_their_batch_is_refused(self, tmp_path):
        config = GPT2Config(vocab_size=78, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.5)
        save(tmp_path, encoder(config, tmp_path, pooling="lasttoken", side="left"))
        with pytest.raises(ModelError, match=r"depends on the longer texts beside it .* the left side.*'right'$"):
            load(tmp_path)


class TestPrompts:
    def prompts_of(self, folder, own, **given):
        save(folder, encoder(bert(), folder), prompts=own)
        base = load(folder, prompts=PromptsSpec(**given))
        return {task: base.model.prompts[task] for task in ("query", "document")}, base.changes

    def test_the_models_own_stay(self, tmp_path):
        assert self.prompts_of(tmp_path, {"query": "q: ", "document": "d: "}) == (
            {"query": "q: ", "document": "d: "},
            (),
        )

    @pytest.mark.parametrize("name", ["passage", "corpus", "search_document", "retrieval.passage"])
    def test_one_under_another_name_is_put_where_the_library_looks_for_it(self, tmp_path, name):
        prompts, changes = self.prompts_of(tmp_path, {"query": "q: ", name: "d: "})
        assert prompts == {"query": "q: ", "document": "d: "}
        assert changes == (f"keeps its prompt {name!r} under the name 'document', where the library looks for it",)

    def test_those_of_the_study_come_before_the_models(self, tmp_path):
        prompts, changes = self.prompts_of(tmp_path, {"query": "q: "}, query="ask: ", document="")
        assert prompts == {"query": "ask: ", "document": ""}
        assert changes == ("reads each query after 'ask: ' instead of 'q: '",)


class TestRoutes:
    def test_a_router_without_a_route_for_queries_is_refused(self, tmp_path):
        router = Router({"left": encoder(bert(), tmp_path / "l"), "right": encoder(bert(), tmp_path / "r")})
        save(tmp_path, [router])
        with pytest.raises(ModelError, match="its Router has no route for the task 'query', only left, right"):
            load(tmp_path)


class TestLayers:
    def test_each_kept_layer_keeps_its_own_type(self, tmp_path):
        write, _ = KINDS["Gemma 3, cut"]
        write(tmp_path)
        types = SentenceTransformer(str(tmp_path / "model"), device="cpu").config.layer_types
        base = prepare_base_model(ModelSpec(base="./model", keep_layers=(4, 5)), tmp_path, into=tmp_path / "cut")
        assert types[4] != types[5]
        for model in (base.model, load_model(tmp_path / "cut", device="cpu")):
            assert model.config.layer_types == types[4:]

    def test_a_cut_that_would_be_another_model_once_it_is_loaded_is_refused(self, tmp_path):
        ids = {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
        config = ModernBertConfig(**SIZES, **{**LAYERS, "num_hidden_layers": 4}, **ids)
        save(tmp_path, encoder(config, tmp_path))  # its first layer alone has no norm before the attention
        with pytest.raises(ModelError, match=r"model.keep_layers: .* \(keep its first layer\)"):
            prepare_base_model(ModelSpec(base="./model", keep_layers=(1, 2)), tmp_path, into=tmp_path / "cut")


class TestPrecision:
    @pytest.mark.parametrize("kind", ["float16", "bfloat16"])
    def test_a_model_is_trained_in_float32_and_kept_in_either(self, tmp_path, kind):
        write, _ = KINDS[f"BERT in {kind}"]
        write(tmp_path)
        own = stored_precision(tmp_path / "model")
        assert str(own) == f"torch.{kind}"
        model = load_model(tmp_path / "model", device="cpu")
        assert {str(parameter.dtype) for parameter in model.parameters()} == {"torch.float32"}
        assert load_model(tmp_path / "model", device="cpu", precision=None).dtype == own
        for precision, name in ((None, "torch.float32"), (own, f"torch.{kind}")):
            save_model(model, tmp_path / "saved", precision=precision)
            assert str(stored_precision(tmp_path / "saved")) == name
            assert str(SentenceTransformer(str(tmp_path / "saved"), device="cpu").dtype) == name
        assert str(model.dtype) == "torch.float32"
