"""Tokenized questions in little memory: three bytes per token of most encoders, so that a million of them fit."""

from array import array
from collections.abc import Sequence

import numpy as np

from tagging.encoding import encode
from training.dataset import Part

TWO_BYTES = 2**16  # the largest vocabulary whose token ids fit; that of BERT has 30,522, of RoBERTa 50,265
CHUNK = 1000  # texts that are tokenized at once; the tokenizer's own results are many times as large as what is kept


class Tokens(Sequence):
    """The token ids of texts, and their token types if the encoder reads some, one after the other in flat arrays.

    For a Trainer that predicts: a text is a dict of model inputs, without padding. ``lengths`` are in tokens.
    """

    def __init__(self, tokenizer, part: Part, fields: Sequence[str]):
        self.typed = "token_type_ids" in tokenizer.model_input_names
        ids, types, lengths = array("H" if len(tokenizer) <= TWO_BYTES else "i"), array("b"), array("q")
        for start in range(0, len(part), CHUNK):
            rows = slice(start, start + CHUNK)
            for encoding in encode(tokenizer.backend_tokenizer, part.titles[rows], part.descriptions[rows], fields):
                lengths.append(len(encoding.ids))
                ids.extend(encoding.ids)
                if self.typed:
                    types.extend(encoding.type_ids)
        self.lengths = np.asarray(lengths)
        self.ends = np.cumsum(self.lengths)
        self.ids, self.types = np.asarray(ids), np.asarray(types)  # of the same memory

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row):
        where = slice(self.ends[row] - self.lengths[row], self.ends[row])
        inputs = {
            "input_ids": self.ids[where].astype(np.int32),
            "attention_mask": np.ones(self.lengths[row], dtype=np.int8),
        }
        return inputs | ({"token_type_ids": self.types[where]} if self.typed else {})


class TokenizedQuestions(Sequence):
    """The questions of a part, for a Trainer: one dict each of model inputs and float ``labels``.

    With weights in the part, a question has its own in ``weights``. With fields in ``alone``, a question that has a
    title and a description has further inputs, those of each field by itself, under the field's name.
    """

    def __init__(self, tokenizer, part: Part, fields: Sequence[str], alone: Sequence[str] = ()):
        self.targets, self.weights = part.targets, part.weights
        self.tokens = Tokens(tokenizer, part, fields)
        self.alone = {field: Tokens(tokenizer, part, [field]) for field in alone}
        texts = zip(part.titles, part.descriptions, strict=True)
        self.has_both = np.array([bool(title.strip() and description.strip()) for title, description in texts])

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, row):
        if isinstance(row, slice):
            return [self[each] for each in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row %= len(self)
        question = self.tokens[row] | {"labels": self.targets[row].astype(np.float32)}
        if self.weights is not None:
            question["weights"] = np.float32(self.weights[row])
        if self.has_both[row]:
            question |= {field: tokens[row] for field, tokens in self.alone.items()}
        return question
