"""keywords: those words of a document that the study's encoder finds nearest to it (KeyBERT, an extra)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from sweep.data.collection import Document
from sweep.data.generators.encoded import Encode, Encoded
from sweep.errors import GeneratorError
from sweep.settings.ranges import as_tuple


class Keywords(Encoded):
    """Queries of a few keywords each; the options bear the names that they have in KeyBERT.

    The keywords of a document come in the order of their similarity, and its queries take turns at them.
    """

    name = "keywords"

    queries: int = Field(default=1, ge=1, le=100, description="Queries of a document.")
    top_n: int = Field(default=3, ge=1, le=100, description="Keywords of a query; a short text gives fewer.")
    keyphrase_ngram_range: Annotated[tuple[int, int], BeforeValidator(as_tuple)] = Field(
        default=(1, 1), description="Fewest and most words of a keyword."
    )
    diversity: float = Field(
        default=0.5, ge=0.0, le=1.0, description="Weight of their difference in choosing them (MMR); 0 is off."
    )
    stop_words: Literal["english", False] = Field(default="english", description="Words that are in no keyword.")
    max_words: int = Field(default=256, ge=1, description="Words of a document that they are taken from at most.")

    @model_validator(mode="after")
    def _lengths_ascend(self) -> Self:
        if not 1 <= self.keyphrase_ngram_range[0] <= self.keyphrase_ngram_range[1]:
            raise ValueError(f"keyphrase_ngram_range must ascend from 1, got {list(self.keyphrase_ngram_range)}")
        return self

    def answer_all(self, documents: Sequence[Document], encode: Encode) -> list[list[str]]:
        """The queries of each document, out of its title and text.

        Raises:
            GeneratorError: If KeyBERT is not installed.
        """
        extractor, vectorizer = self._load()
        texts = [" ".join(document.embedded("title-and-text").split()[: self.max_words]) for document in documents]
        try:
            words = vectorizer.fit(texts).get_feature_names_out().tolist()
        except ValueError:  # not a word in any of them
            return [[] for _ in documents]
        found = extractor.extract_keywords(
            texts,
            vectorizer=vectorizer,
            top_n=self.queries * self.top_n,
            use_mmr=self.diversity > 0,
            diversity=self.diversity,
            doc_embeddings=encode(texts, "document"),
            word_embeddings=encode(words, "query"),
        )
        lists = found if len(texts) > 1 else [found]
        return [self._share_out([word for word, _ in each]) for each in lists]

    def _share_out(self, keywords: Sequence[str]) -> list[str]:
        queries = [" ".join(keywords[place :: self.queries]) for place in range(self.queries)]
        return [query for query in queries if query]

    def _load(self) -> tuple[Any, Any]:
        """KeyBERT, to be given embeddings, and what cuts texts into words for it."""
        try:
            from keybert import KeyBERT
            from keybert.backend import BaseEmbedder
            from sklearn.feature_extraction.text import CountVectorizer
        except ImportError as error:
            raise GeneratorError(
                f'{self.name}: KeyBERT cannot be imported ({error}); pip install "retrieval-sweep[keywords]"'
            ) from error
        stop_words = self.stop_words or None
        return KeyBERT(BaseEmbedder()), CountVectorizer(ngram_range=self.keyphrase_ngram_range, stop_words=stop_words)
