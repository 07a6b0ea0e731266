"""Building of a scikit-learn pipeline from a baseline's configuration."""

from functools import cache
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from deepfake_lit.baselines.knn import KNN
from deepfake_lit.baselines.standardise import Standardise
from deepfake_lit.baselines.svm import SVM
from deepfake_lit.core.errors import UserError, did_you_mean

OWN: dict[str, type] = {cls.__name__: cls for cls in (KNN, SVM, Standardise)}


def build_pipeline(steps: dict[str, Any], seed: int, device: str, memory_gib: float) -> Pipeline:
    """Build a pipeline whose last step predicts class probabilities.

    Args:
        steps: name of a class of scikit-learn or of `OWN` -> its parameters. A parameter that is itself an estimator is
            written the same way, as in `BaggingClassifier: {estimator: {SVM: {C: 10}}}`.
        seed: random state of every estimator that draws random numbers and has no `random_state` set.

    Raises:
        UserError: there is no step, a class or parameter does not exist, a parameter has an invalid value, a step
            before the last is no transformer, or the last step predicts no probabilities.
    """
    if not steps:
        raise UserError("a baseline needs at least one step, such as steps={KNN: {n_neighbors: 5}}")
    pipeline = Pipeline([(name, _estimator(name, parameters)) for name, parameters in steps.items()])
    *transformers, (name, last) = pipeline.steps
    for other, step in transformers:
        if not hasattr(step, "transform"):
            raise UserError(f"{other} transforms nothing; only the last step of a baseline classifies")
    if not hasattr(last, "predict_proba"):
        raise UserError(
            f"{name} gives no probabilities; write CalibratedClassifierCV: {{estimator: {{{name}: {{}}}}}} for it"
        )
    common = {"random_state": seed % 2**32, "device": device, "memory_gib": memory_gib}
    for key, value in pipeline.get_params().items():
        leaf = key.rpartition("__")[2]
        if leaf in common and (leaf != "random_state" or value is None):
            pipeline.set_params(**{key: common[leaf]})
    return pipeline


def is_random(pipeline: Pipeline) -> bool:
    """Tell whether any estimator in the pipeline draws random numbers, so that the seed can change its result."""
    return any(key.rpartition("__")[2] == "random_state" for key in pipeline.get_params())


def _estimator(name: str, parameters: dict[str, Any] | None) -> BaseEstimator:
    cls = OWN.get(name) or _of_scikit_learn().get(name)
    if cls is None:
        raise UserError(f"there is no estimator {name!r}{did_you_mean(name, [*OWN, *_of_scikit_learn()])}")
    values = {
        key: _estimator(*next(iter(v.items()))) if _is_estimator(v) else v for key, v in (parameters or {}).items()
    }
    known = sorted(cls._get_param_names())
    for key in values:
        if key not in known:
            raise UserError(f"{name} has no parameter {key!r}; it has {', '.join(known)}")
    estimator = cls(**values)
    if hasattr(estimator, "_validate_params") and name not in OWN:  # scikit-learn checks only in `fit`
        try:
            estimator._validate_params()
        except ValueError as error:
            raise UserError(str(error)) from None
    return estimator


def _is_estimator(value: Any) -> bool:
    if not isinstance(value, dict) or len(value) != 1:
        return False
    key, parameters = next(iter(value.items()))
    return isinstance(key, str) and (parameters is None or isinstance(parameters, dict)) and key[:1].isupper()


@cache
def _of_scikit_learn() -> dict[str, type]:
    from sklearn.utils import all_estimators

    return dict(all_estimators())
