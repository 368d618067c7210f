"""Reference points that cost nothing, fitted on a task's training rows: a tune that does not beat them is no news."""

from __future__ import annotations

import asyncio
import itertools
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from harness.errors import Rejected
from harness.models.backend import Reply, Request
from harness.tasks.prompts import without_frame

Predict = Callable[[str], str]
Training = Callable[[], tuple[Sequence[str], Sequence[str]]]
# Logistic regression holds a weight for each pair of term and class: beyond this many, memory is what limits it.
MOST_CLASSES = 200
COMMON = 0.95
MAX_ITER = 200
# How logistic regression is fitted is chosen among these by cross-validation, on at most so many training rows.
GRID: dict[str, list[Any]] = {"C": [1.0, 10.0, 100.0], "class_weight": [None, "balanced"]}
MOST_CROSS_VALIDATED = 3000
FOLDS = 3
# Of the way a baseline is fitted: raise it when that changes, so that recorded answers are asked again.
VERSION = 2


@dataclass(frozen=True, slots=True)
class Objective:
    """What the labels of a baseline are chosen for: a task's first metric by name, and the label it looks at."""

    metric: str
    positive: str | None = None


class BaselineBackend:
    """A baseline for one task.

    It is fitted once, when the first row is asked, in a thread of its own, on all training rows. `training` gives the
    training rows as rendered prompts and targets, once, in that thread; `fingerprint` stands for them in `identity`, so
    that a finished run is known to be finished without loading them. There is no `objective` where the targets are not
    labels.
    """

    def __init__(
        self, method: Literal["majority", "tfidf"], training: Training, objective: Objective | None, fingerprint: str
    ) -> None:
        self.method = method
        self.fingerprint = fingerprint
        self.objective = objective
        self._training = training
        self._fitted: asyncio.Future[Predict] | None = None

    @property
    def identity(self) -> Mapping[str, Any]:
        """Method, objective and training rows: together with the prompt they determine the answer."""
        known: dict[str, Any] = {"backend": "baseline", "method": self.method, "training": self.fingerprint}
        if self.method == "tfidf" and self.objective:
            known |= {"version": VERSION, "objective": asdict(self.objective)}
        return known

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
        return majority(targets) if self.method == "majority" else tfidf(prompts, targets, self.objective)


def majority(targets: Sequence[str]) -> Predict:
    """Always answer the most frequent target; among equally frequent ones the first in alphabetical order.

    Raises:
        ValueError: there are no targets.
    """
    counts = Counter(targets)
    winner = min(counts, key=lambda target: (-counts[target], target))
    return lambda prompt: winner


def tfidf(prompts: Sequence[str], targets: Sequence[str], objective: Objective | None) -> Predict:
    """Answer from the words and word pairs of the prompt, weighted by TF-IDF (sublinear term frequency).

    Labels, where there is an `objective`, come from a multinomial logistic regression whose regularisation and class
    weights do best at it in cross-validation; other targets, and labels of more than `MOST_CLASSES` kinds,
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
    if objective and classes <= MOST_CLASSES:
        chosen = _chosen(vectorizer, [cut(prompt) for prompt in prompts], targets, objective)
        regression = LogisticRegression(**chosen, max_iter=MAX_ITER, tol=1e-3).fit(matrix, list(targets))
        return lambda prompt: str(regression.predict(vectorizer.transform([cut(prompt)]))[0])
    by_term = matrix.T.tocsr()

    def nearest(prompt: str) -> str:
        similarity = vectorizer.transform([cut(prompt)]) @ by_term
        return targets[similarity.indices[similarity.data.argmax()]] if similarity.nnz else fallback(prompt)

    return nearest


def _chosen(vectorizer: Any, texts: Sequence[str], targets: Sequence[str], objective: Objective) -> dict[str, Any]:
    """C and class weights that do best in cross-validation; C = 10, unweighted, where a class has too few rows for it.

    The vocabulary is taken from each fold's own training rows, since one that has seen the rows left out knows their
    rare words, which makes weak regularisation look better than it is.
    """
    import numpy as np
    from sklearn.base import clone
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    texts, labels = texts[:MOST_CROSS_VALIDATED], np.array(targets[:MOST_CROSS_VALIDATED])
    unscored: dict[str, Any] = {"C": 10.0, "class_weight": None}
    _, counts = np.unique(labels, return_counts=True)
    if len(counts) < 2 or sorted(counts)[-2] < FOLDS:  # a fold would be without one of them
        return unscored
    settings = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]
    predicted = np.empty((len(settings), len(labels)), dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # scikit-learn's, of labels with fewer rows than folds
        folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(labels, labels))
    for learned, left_out in folds:
        try:
            words = clone(vectorizer).set_params(min_df=1)
            matrix = words.fit_transform([texts[row] for row in learned])
        except ValueError:
            return unscored
        asked = words.transform([texts[row] for row in left_out])
        for place, chosen in enumerate(settings):
            regression = LogisticRegression(**chosen, max_iter=MAX_ITER, tol=1e-2).fit(matrix, labels[learned])
            predicted[place, left_out] = regression.predict(asked)
    scores = [_score(labels, row, objective) for row in predicted]
    return settings[scores.index(max(scores))]


def _score(labels: Any, predicted: Any, objective: Objective) -> float:
    """The objective's metric as scikit-learn computes it; accuracy where it is none of labels."""
    from sklearn import metrics

    def averaged(score: Callable[..., Any], average: str) -> float:
        wanted = {"labels": [objective.positive], "average": "macro"} if average == "one" else {"average": average}
        return float(score(labels, predicted, zero_division=0, **wanted))

    by_part = {"precision": metrics.precision_score, "recall": metrics.recall_score, "f1": metrics.f1_score}
    average, _, part = objective.metric.rpartition("_")
    if part in by_part and (average in ("macro", "weighted", "micro") or (not average and objective.positive)):
        return averaged(by_part[part], average or "one")
    if objective.metric == "mcc":
        return float(metrics.matthews_corrcoef(labels, predicted))
    if objective.metric == "balanced_accuracy":
        return float(metrics.recall_score(labels, predicted, average="macro", zero_division=0))
    return float(metrics.accuracy_score(labels, predicted))
