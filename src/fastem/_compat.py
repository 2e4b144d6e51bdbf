"""Every name of scikit-learn's that is not public and that fastem uses, in one place.

They are what its own estimators are written with, and have been stable since 1.6; what moves is
repaired here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from sklearn.utils._param_validation import (
    Interval,
    InvalidParameterError,
    StrOptions,
    make_constraint,
    validate_parameter_constraints,
)
from sklearn.utils.validation import _check_sample_weight as check_any_sample_weight
from sklearn.utils.validation import _get_feature_names as get_feature_names
from sklearn.utils.validation import _num_samples as num_samples

if TYPE_CHECKING:
    _Method = TypeVar("_Method", bound=Callable[..., Any])

    def fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[_Method], _Method]:
        """Tell type checkers that a decorated method has the signature it is written with."""

else:
    from sklearn.base import _fit_context as fit_context
from sklearn.cluster._k_means_lloyd import lloyd_iter_chunked_dense as lloyd_iteration
from sklearn.cluster._kmeans import _kmeans_plusplus as pick_by_kmeans_plusplus
from sklearn.metrics.pairwise import _euclidean_distances as checked_distances

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # scikit-learn < 1.9 has no callbacks

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in for scikit-learn's class, without set_callbacks."""


__all__ = [
    "CallbackSupportMixin",
    "Interval",
    "InvalidParameterError",
    "StrOptions",
    "check_any_sample_weight",
    "checked_distances",
    "fit_context",
    "get_feature_names",
    "has_callbacks",
    "lloyd_iteration",
    "make_constraint",
    "num_samples",
    "pick_by_kmeans_plusplus",
    "validate_parameter_constraints",
    "visual_block",
]


def has_callbacks(estimator):
    """Return whether scikit-learn's callbacks watch an estimator."""
    return bool(getattr(estimator, "_skl_callbacks", ()))


def visual_block(*args, **kwargs):
    """Return scikit-learn's block of a notebook's diagram.

    Raises ImportError where scikit-learn has moved it: it then shows its own block.
    """
    try:
        from sklearn.utils._repr_html.estimator import _VisualBlock
    except ImportError:  # scikit-learn < 1.8
        from sklearn.utils._estimator_html_repr import _VisualBlock
    return _VisualBlock(*args, **kwargs)
