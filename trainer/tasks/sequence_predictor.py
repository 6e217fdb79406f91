"""Outputs for source texts."""

import torch
from torch import Tensor

from trainer.config.network import SequenceNetwork
from trainer.data.pairs import SEPARATORS
from trainer.data.vocabulary import PAD, Vocabulary
from trainer.decoding import beam_search
from trainer.models.lstm_seq2seq import build_lstm_seq2seq
from trainer.tasks.predictor import Prediction

_BATCH = 64


class SequencePredictor:
    """Says a sequence for each text, such as the pronunciation of a word.

    Args:
        network: What the checkpoint says of itself.
    """

    def __init__(self, network: SequenceNetwork) -> None:
        self._network = network
        self._source = Vocabulary(network.source_vocabulary)
        self._target = Vocabulary(network.target_vocabulary)
        self.model = build_lstm_seq2seq(network.model, len(self._source), len(self._target))

    def __call__(self, inputs: list[str], *, top: int) -> list[Prediction]:  # noqa: ARG002 - the search keeps the best
        """The best output for each text, or which of its tokens the network never saw."""
        answers: list[Prediction] = []
        for start in range(0, len(inputs), _BATCH):
            answers += self._predict_batch(inputs[start : start + _BATCH])
        return answers

    def _predict_batch(self, texts: list[str]) -> list[Prediction]:
        split = [self._tokens(text) for text in texts]
        faults = [self._fault(tokens) for tokens in split]
        usable = [tokens for tokens, fault in zip(split, faults, strict=True) if fault is None]
        outputs = iter(self._search(usable)) if usable else iter(())
        return [
            Prediction(text, *next(outputs)) if fault is None else Prediction(text, None, None, error=fault)
            for text, fault in zip(texts, faults, strict=True)
        ]

    def _tokens(self, text: str) -> list[str]:
        text = text.lower() if self._network.lowercase else text
        return text.split() if self._network.source_tokens == "words" else list(text)

    def _fault(self, tokens: list[str]) -> str | None:
        unknown = [token for token in tokens if token not in self._network.source_vocabulary]
        if unknown:
            return f"the network has never seen {', '.join(map(repr, dict.fromkeys(unknown)))}"
        return None if tokens else "empty"

    @torch.inference_mode()
    def _search(self, sequences: list[list[str]]) -> list[tuple[str, float]]:
        decoding = self._network.decoding
        ids: list[Tensor] = [self._source.encode(tokens) for tokens in sequences]
        decoded = beam_search(
            self.model.eval(),
            torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=PAD),
            torch.tensor([len(sequence) for sequence in ids]),
            beam=decoding.beam,
            length_penalty=decoding.length_penalty,
            max_tokens=decoding.max_tokens,
        )
        separator = SEPARATORS[self._network.target_tokens]
        texts = [separator.join(self._target.decode(tokens)) for tokens in decoded.lists()]
        return list(zip(texts, decoded.log_probability.exp().tolist(), strict=True))
