"""An independent judge of texts: a classifier with one label per principle. It sees texts alone."""

from collections.abc import Sequence

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

BATCH_SIZE = 64


class MissingLabelError(ValueError):
    """The judge has no label for a principle of the suite."""


class Judge:
    """A sequence classifier, `id2label` naming principles; each label is a yes or no of its own."""

    def __init__(self, path: str, names: Sequence[str]) -> None:
        self._model = AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32).train(False)
        self._tokenizer = AutoTokenizer.from_pretrained(path)
        labels = {str(label): int(index) for index, label in self._model.config.id2label.items()}
        missing = [name for name in names if name not in labels]
        if missing:
            raise MissingLabelError(f"the judge in {path} has no label for {', '.join(missing)}")
        self._columns = {name: labels[name] for name in names}

    @torch.inference_mode()
    def judge(self, texts: Sequence[str]) -> list[frozenset[str]]:
        """The principles that each text keeps, in the judge's eyes."""
        unique = sorted({text for text in texts if text.strip()}, key=len)
        kept: dict[str, frozenset[str]] = {}
        for start in range(0, len(unique), BATCH_SIZE):
            batch = unique[start : start + BATCH_SIZE]
            inputs = self._tokenizer(batch, padding=True, truncation=True, return_tensors="pt")
            inputs.pop("token_type_ids", None)
            yes = self._model(**inputs).logits > 0
            for text, row in zip(batch, yes.tolist(), strict=True):
                kept[text] = frozenset(name for name, column in self._columns.items() if row[column])
        return [kept.get(text, frozenset()) for text in texts]
