"""Fitted estimators as ONNX graphs.

skl2onnx asks an estimator that it does not know for the three methods of :class:`ToOnnx`, so that
nothing need be registered, and skl2onnx is imported only when it is there and calls them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from sklearn.utils.validation import check_is_fitted

__all__ = ["ToOnnx", "gaussian_mixture_nodes", "kmeans_nodes"]


class ToOnnx:
    """Lets ``skl2onnx.to_onnx`` convert the estimators of a subclass: to labels and scores."""

    #: Name of the output of scores, and the fitted attribute that has as many rows as it columns.
    _onnx_scores: ClassVar[tuple[str, str]]

    @abstractmethod
    def _onnx_nodes(self, X, dtype, names, opset) -> tuple[Any, Any]:
        """Return the nodes of labels and scores, which have these names, of the input X."""

    def onnx_parser(self) -> Callable[..., Any]:
        """Return the function by which skl2onnx declares the outputs."""
        from skl2onnx.common.data_types import Int64TensorType, guess_tensor_type

        check_is_fitted(self)

        def declare(scope, inputs):
            scores = guess_tensor_type(inputs[0].type)
            return [
                scope.declare_local_variable("label", Int64TensorType()),
                scope.declare_local_variable(self._onnx_scores[0], scores),
            ]

        return declare

    def onnx_shape_calculator(self) -> Callable[..., Any]:
        """Return the function by which skl2onnx gives the outputs their shapes."""

        def infer(operator):
            n_samples = operator.inputs[0].get_first_dimension()
            labels, scores = operator.outputs
            labels.type.shape = [n_samples]
            scores.type.shape = [n_samples, len(getattr(self, self._onnx_scores[1]))]

        return infer

    def onnx_converter(self) -> Callable[..., Any]:
        """Return the function by which skl2onnx adds the graph's nodes."""
        from skl2onnx.algebra.onnx_ops import OnnxCast
        from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
        from skl2onnx.proto import onnx_proto

        def convert(scope, operator, container):
            X, opset = operator.inputs[0], container.target_opset
            dtype = np.float64 if isinstance(X.type, DoubleTensorType) else np.float32
            if not isinstance(X.type, (DoubleTensorType, FloatTensorType)):  # integers
                X = OnnxCast(X, to=onnx_proto.TensorProto.FLOAT, op_version=opset)
            names = [[output] for output in operator.outputs]
            for node in self._onnx_nodes(X, dtype, names, opset):
                node.add_to(scope, container)

        return convert


def gaussian_mixture_nodes(log_weights, means, precisions_cholesky, X, dtype, names, opset):
    """Return the nodes of labels and responsibilities.

    Parameters
    ----------
    log_weights : ndarray of shape (n_components,)
    means : ndarray of shape (n_components, n_features)
    precisions_cholesky : ndarray
        Of each component: an upper triangle, (n_components, n_features, n_features); square roots
        of precisions, (n_components, n_features); or one, (n_components, 1).
    X : input or node
    dtype : type
    names : list of two lists, with an output of the graph each
    opset : int
    """
    from skl2onnx.algebra import onnx_ops as ops

    n_features, triangular = means.shape[1], precisions_cholesky.ndim == 3
    roots = precisions_cholesky.diagonal(axis1=1, axis2=2) if triangular else precisions_cholesky
    log_det = np.log(np.broadcast_to(roots, means.shape)).sum(axis=1)
    constants = log_weights + log_det - n_features / 2 * np.log(2 * np.pi)
    times = ops.OnnxMatMul if triangular else ops.OnnxMul
    squares = [
        ops.OnnxReduceSumSquareApi18(
            # The mean is subtracted first: float32 has no digits left of far data's squares.
            times(ops.OnnxSub(X, mean, op_version=opset), root, op_version=opset),
            axes=[1],
            op_version=opset,
        )
        for mean, root in zip(means.astype(dtype), precisions_cholesky.astype(dtype), strict=True)
    ]
    half = np.array([-0.5], dtype)
    distances = ops.OnnxConcat(*squares, axis=1, op_version=opset)
    exponents = ops.OnnxMul(distances, half, op_version=opset)
    log_joint = ops.OnnxAdd(exponents, constants.astype(dtype), op_version=opset)
    return (
        ops.OnnxArgMax(log_joint, axis=1, keepdims=0, output_names=names[0], op_version=opset),
        ops.OnnxSoftmax(log_joint, axis=1, output_names=names[1], op_version=opset),
    )


def kmeans_nodes(centers, X, dtype, names, opset):
    """Return the nodes of labels and distances.

    Parameters
    ----------
    centers : ndarray of shape (n_clusters, n_features)
    X : input or node
    dtype : type
    names : list of two lists, with an output of the graph each
    opset : int
    """
    from skl2onnx.algebra import onnx_ops as ops

    # Squares of distances from the middle: float32 has no digits left of those from a far zero.
    middle = centers.mean(axis=0)
    X = ops.OnnxSub(X, middle.astype(dtype), op_version=opset)
    centers = (centers - middle).astype(dtype)
    products = ops.OnnxMatMul(X, -2 * centers.T, op_version=opset)
    lengths = ops.OnnxReduceSumSquareApi18(X, axes=[1], op_version=opset)
    partial = ops.OnnxAdd(products, (centers**2).sum(axis=1), op_version=opset)
    # By rounding a square can be below 0.
    squares = ops.OnnxRelu(ops.OnnxAdd(partial, lengths, op_version=opset), op_version=opset)
    return (
        ops.OnnxArgMin(partial, axis=1, keepdims=0, output_names=names[0], op_version=opset),
        ops.OnnxSqrt(squares, output_names=names[1], op_version=opset),
    )
