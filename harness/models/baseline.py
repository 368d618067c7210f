"""Reference points that cost nothing, fitted on a task's training rows: a tune that does not beat them is no news."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from harness.errors import Rejected
from harness.models.backend import Reply, Request
from harness.tasks.prompts import without_frame

Predict = Callable[[str], str]


Training = Callable[[], tuple[Sequence[str], Sequence[str]]]


# Logistic regression holds a weight for each pair of term and class: beyond this many, memory is what limits it.
MOST_CLASSES = 200


COMMON = 0.95


class BaselineBackend:
    """A baseline for one task.

    It is fitted once, when the first row is asked, in a thread of its own, on all training rows.

    Args:
        method: `majority` or `tfidf`.
        training: Gives the training rows as (rendered prompts, targets); called once, in the thread.
        classify: Whether the targets are labels.
        fingerprint: Stands for the training rows in `identity`, so that a finished run is known to be finished without
            loading them.
    """

    def __init__(
        self, method: Literal["majority", "tfidf"], training: Training, classify: bool, fingerprint: str
    ) -> None:
        self.method = method
        self.fingerprint = fingerprint
        self.classify = classify
        self._training = training
        self._fitted: asyncio.Future[Predict] | None = None

    @property
    def identity(self) -> Mapping[str, Any]:
        """Method and training rows: together with the prompt they determine the answer."""
        return {"backend": "baseline", "method": self.method, "training": self.fingerprint}

    def body(self, request: Request) -> Mapping[str, Any]:
        """The prompt, which is all that a baseline sees."""
        return {"prompt": request.prompt}

    async def ask(self, request: Request) -> Reply:
        """Predict the row's target.

        Raises:
            Rejected: there are no training rows to learn from.
        """
        if self._fitted is None:
            self._fitted = asyncio.ensure_future(asyncio.to_thread(self._fit))
        # Shielded, because the deadline of the row that happens to be first must not undo the fit for all the others.
        predict = await asyncio.shield(self._fitted)
        if self.method == "majority":
            return Reply(predict(request.prompt))
        # It computes for milliseconds, in which other models' answers would have to wait.
        return Reply(await asyncio.to_thread(predict, request.prompt))

    async def aclose(self) -> None:
        """Let go of the fitted model."""
        if self._fitted is not None:
            self._fitted.cancel()
        self._fitted = None

    def _fit(self) -> Predict:
        prompts, targets = self._training()
        if not targets:
            raise Rejected("the task has no training rows, from which a baseline could learn")
        return majority(targets) if self.method == "majority" else tfidf(prompts, targets, self.classify)


def majority(targets: Sequence[str]) -> Predict:
    """Always answer the most frequent target; among equally frequent ones the first in alphabetical order.

    Raises:
        ValueError: there are no targets.
    """
    counts = Counter(targets)
    winner = min(counts, key=lambda target: (-counts[target], target))
    return lambda prompt: winner


def tfidf(prompts: Sequence[str], targets: Sequence[str], classify: bool) -> Predict:
    """Answer from the words and word pairs of the prompt, weighted by TF-IDF (sublinear term frequency).

    Labels come from a multinomial logistic regression; other targets, and labels of more than `MOST_CLASSES` kinds,
    from the training row of the highest cosine similarity. What all prompts begin and end with, and words that stand in
    more than `COMMON` of them, say nothing about a row and are left out. Where no word is left, or none of a prompt's
    words is known, the answer is the majority's.

    Raises:
        ValueError: there are no targets, or not as many as prompts.
    """
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    fallback = majority(targets)
    classes = len(set(targets))
    if classes == 1:
        return fallback
    cut = without_frame(prompts)
    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, max_df=COMMON, min_df=2 if len(prompts) >= 1000 else 1, dtype=np.float32
    )
    try:
        matrix = vectorizer.fit_transform([cut(prompt) for prompt in prompts])
    except ValueError:  # scikit-learn's only word for a vocabulary without words
        return fallback
    if classify and classes <= MOST_CLASSES:
        regression = LogisticRegression(C=10.0, max_iter=200, tol=1e-3).fit(matrix, list(targets))
        return lambda prompt: str(regression.predict(vectorizer.transform([cut(prompt)]))[0])
    by_term = matrix.T.tocsr()

    def nearest(prompt: str) -> str:
        similarity = vectorizer.transform([cut(prompt)]) @ by_term
        return targets[similarity.indices[similarity.data.argmax()]] if similarity.nnz else fallback(prompt)

    return nearest
