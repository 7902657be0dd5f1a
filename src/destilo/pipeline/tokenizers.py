"""The tokenizers of a run: loaded, or trained once on the recipe's texts and kept in the run.

What was trained is kept: a killed training goes on with the very pieces it began with, whatever
version of a library runs by then, and the student without distillation and other processes need
not train it again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from accelerate import PartialState
from transformers import PreTrainedTokenizerBase

from destilo.models.folder import load_tokenizer, replace_folder
from destilo.models.vocabulary import train_tokenizer
from destilo.recipe.schema import TokenizerSpec
from destilo.runs import digest


class TokenizerStore:
    """Makes the tokenizers that a recipe asks for.

    Args:
        folder: Where trained ones are kept.
        texts: Gives the training texts.
        texts_digest: Of these texts.
        max_length: Recorded in a new tokenizer.
        processes: One of them trains, all of them read.
    """

    def __init__(
        self,
        folder: Path,
        *,
        texts: Callable[[], Iterable[str]],
        texts_digest: str,
        max_length: int,
        processes: PartialState,
    ) -> None:
        self._folder, self._texts = folder, texts
        self._texts_digest, self._max_length = texts_digest, max_length
        self._processes = processes

    def make(self, choice: str | TokenizerSpec, *, model_type: str) -> PreTrainedTokenizerBase:
        """Load a tokenizer by its folder or name, or train one; every process must call this.

        Raises:
            ModelError: If it cannot be loaded or trained.
        """
        if isinstance(choice, str):
            return load_tokenizer(choice)
        key = digest([choice.model_dump(), model_type, self._max_length, self._texts_digest])
        folder = self._folder / key
        if self._processes.is_main_process and not folder.exists():
            self._train(choice, model_type=model_type, folder=folder)
        self._processes.wait_for_everyone()
        return load_tokenizer(str(folder))

    def _train(self, spec: TokenizerSpec, *, model_type: str, folder: Path) -> None:
        made = train_tokenizer(
            self._texts(),
            algorithm=spec.algorithm,
            vocab_size=spec.vocab_size,
            model_type=model_type,
            max_length=self._max_length,
        )
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        made.save_pretrained(partial)
        replace_folder(partial, folder)
