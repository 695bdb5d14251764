"""endpoint: a model behind a server with an OpenAI-compatible interface, asked over the network."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, field_validator

from sweep.data.chat_client import ChatClient, Usage
from sweep.data.collection import Document
from sweep.data.generators.generator import Keep
from sweep.data.generators.prompted import DOCUMENT, Prompted
from sweep.errors import GeneratorError
from sweep.settings.study_file import ModelSpec

CHARACTERS_A_TOKEN = 4
"""Characters that a token has, about, in an estimate of what calls will cost."""


class Endpoint(Prompted):
    """A server such as vLLM, llama.cpp or Ollama, or a paid one; its key comes from the environment alone."""

    name = "endpoint"

    url: str = Field(exclude=True, description="Its address, up to and with /v1.")
    model: str = Field(min_length=1, description="The model's name there.")
    key: str = Field(
        default="SWEEP_GENERATOR_KEY", exclude=True, description="Variable of the environment that holds its key."
    )
    concurrency: int = Field(default=16, ge=1, le=1024, exclude=True, description="Calls in flight at once.")
    timeout_s: float = Field(default=120.0, gt=0.0, exclude=True, description="Seconds that an answer may take.")
    attempts: int = Field(default=5, ge=1, le=100, exclude=True, description="Attempts of a call, with growing waits.")
    most_calls: int | None = Field(default=None, ge=1, exclude=True, description="Calls of a run at most.")
    most_tokens: int | None = Field(default=None, ge=1, exclude=True, description="Tokens of a run at most.")

    @field_validator("url")
    @classmethod
    def _is_plain(cls, url: str) -> str:
        if not re.fullmatch(r"https?://[^/@\s?#]+(/[^@\s?#]*)?", url):
            raise ValueError("must be http:// or https:// with a host, and hold no password, key or query")
        return url.rstrip("/")

    @field_validator("key")
    @classmethod
    def _is_a_variable(cls, key: str) -> str:
        if not re.fullmatch(r"[A-Za-z_]\w{0,63}", key):
            raise ValueError("must be the name of a variable of the environment; the key itself belongs in no file")
        return key

    def identify_model(self, base: ModelSpec, folder: Path) -> str:  # noqa: ARG002 - it lies nowhere here
        """The model's name: what a server computes under it is not known."""
        return self.model

    def describe(self) -> str:
        """The model's name there."""
        return f"{self.name} {self.model}"

    def estimate(self, documents: Sequence[Document]) -> str:
        """The calls and tokens that documents will cost, about."""
        usage = self._estimate(documents)
        return f"{usage.calls:,} calls to {self.url}, about {usage.tokens:,} tokens"

    def generate(self, documents: Sequence[Document], *, keep: Keep) -> None:
        """Asks for the queries of documents, several at once, and keeps those of each as they come.

        Raises:
            GeneratorError: If the limits do not suffice, or the server cannot be used; what was kept stays.
        """
        self._check_limits(self._estimate(documents))
        client = ChatClient(
            self.url,
            key=os.environ.get(self.key, ""),
            variable=self.key,
            concurrency=self.concurrency,
            timeout_s=self.timeout_s,
            attempts=self.attempts,
            limits=Usage(self.most_calls or math.inf, self.most_tokens or math.inf),
        )
        bodies = ([self._ask(document, number) for number in range(self.queries)] for document in documents)
        client.ask_all(bodies, keep=keep)

    def _ask(self, document: Document, number: int) -> dict[str, object]:
        asked = self.prompt.replace(DOCUMENT, self.show(document))
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": asked}],
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": self.seed + number,
        }

    def _estimate(self, documents: Sequence[Document]) -> Usage:
        calls = len(documents) * self.queries
        shown = sum(len(self.show(document)) for document in documents) + len(self.prompt) * len(documents)
        return Usage(calls, math.ceil(shown * self.queries / CHARACTERS_A_TOKEN) + calls * self.max_tokens)

    def _check_limits(self, usage: Usage) -> None:
        for name, needed, most in (
            ("most_calls", usage.calls, self.most_calls),
            ("most_tokens", usage.tokens, self.most_tokens),
        ):
            if most is not None and needed > most:
                raise GeneratorError(
                    f"{self.describe()}: {name} = {most:,} is below the {needed:,} that are needed, about; nothing was"
                    " asked: raise it, or lower documents"
                )
