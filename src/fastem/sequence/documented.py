"""What the docstrings of all hidden Markov models have in common."""

from __future__ import annotations

from inspect import signature
from typing import TypeVar

__all__ = ["documented"]

_Class = TypeVar("_Class")

_CHAIN_PRIORS = """\
    startprob_prior : float or array-like of shape (n_components,), default=1.0
        Parameters of the Dirichlet prior of `startprob_`: pseudo-counts plus 1, so that 1 is
        maximum likelihood.
    transmat_prior : float or array-like of shape (n_components, n_components), default=1.0
        Parameters of the Dirichlet priors of the rows of `transmat_`, with the same meaning.
"""
_COURSE = """\
    algorithm : {'viterbi', 'map'}, default='viterbi'
        How `decode` and `predict` choose the states: the most probable path, or at each row the
        state that is most probable there.
    random_state : int, RandomState instance or None, default=None
        Seed of the start and of `sample`.
    n_iter : int, default=10
        Largest number of EM iterations; 0 only computes the start.
    tol : float, default=1e-2
        EM has converged when the log-likelihood of all data rises by less than this.
    verbose : bool, default=False
        Whether `monitor_` prints each iteration to the standard error output.
    params : str, default={letters}
        The parameters that are learnt, by letter: {meanings}.
    init_params : str, default={letters}
        The parameters that a fit draws a start for; the others begin at the attribute of their
        name, if it is set.
    implementation : {'log', 'scaling'}, default='log'
        Of no consequence but one: there is one implementation, as exact as the first and as fast as
        the second of hmmlearn's. With 'scaling' a fit refuses likelihoods that underflow in every
        state, as hmmlearn does.
    n_init : int, default=1
        Number of restarts; the one with the largest bound is kept. The first is hmmlearn's.
    topology : {'left-right', 'linear', 'cyclic'}, array-like or None, default=None
        Which transitions are possible. 'left-right': to the state itself and to all later ones;
        'linear': to the state itself and to the next; both begin in state 0. 'cyclic': as 'linear',
        and from the last state to the first. Or booleans of shape (n_components, n_components),
        True where a transition is possible. None: all are. A 0 in `transmat_` or `startprob_` that
        a fit begins with stays 0, whatever the topology.
    transmat_fixed : array-like of shape (n_components, n_components), default=None
        Transitions that a fit leaves alone: their probabilities, with NaN where a transition is
        free; or booleans, True where a transition is held at its value in `transmat_`.
    n_jobs : int, default=None
        Number of threads, which share out the sequences; None and -1: all physical cores. The bits
        of the result do not depend on it.
"""
_FIT = """\
    fit_algorithm : {'em', 'squarem', 'incremental'}, default='em'
        How a fit goes; `algorithm`, in hmmlearn's words, is how states are chosen. 'em': an M-step
        after each pass over the sequences. 'squarem': beside it, extrapolates the sums that the
        M-step is made of (Varadhan & Roland 2008), and goes back where the likelihood is then
        lower: a tenth of the passes, or less, where EM converges slowly, as with states that look
        alike; it may end in another optimum. 'incremental': an M-step after each twentieth of the
        sequences (Neal & Hinton 1998): fewer passes to a rough `tol`, best for many sequences.
"""
_STREAM = """\
    learning_decay : float, default=0.7
        Of `partial_fit`, whose step is (learning_offset + number of the step)^-learning_decay; in
        (0.5, 1].
    learning_offset : float, default=10.0
        Slows the first steps of `partial_fit`; at least 1.
"""
_CHAIN = """\
    startprob_ : ndarray of shape (n_components,)
        Probability of each state at the first row of a sequence.
    transmat_ : ndarray of shape (n_components, n_components)
        Probability of a transition from one state, the row, to another, the column.
"""
_FITTED = """\
    monitor_ : ConvergenceMonitor
        The course of the fit: `history` has the log-likelihood of each iteration.
    converged_ : bool
        Whether EM converged; that the iterations ran out is not convergence.
    stop_reason_ : {'converged', 'n_iter', 'callback', 'interrupted'}
        Why the fit stopped.
    n_iter_ : int
        Number of iterations of the best restart.
    lower_bound_ : float
        Its last log-likelihood per row (with priors, plus their log-density up to a constant, by
        the number of rows).
    lower_bounds_ : list of float
        The same at each of its iterations.
    n_features_in_ : int
        Number of columns of X seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if X had names that are all strings.
"""

_MEANINGS = {
    "s": "'s' for `startprob_`",
    "t": "'t' for `transmat_`",
    "m": "'m' for `means_`",
    "c": "'c' for `covars_`",
    "w": "'w' for `weights_`",
    "e": "'e' for `emissionprob_`",
    "l": "'l' for `lambdas_`",
}


def documented(cls: type[_Class]) -> type[_Class]:
    """Put the parameters and attributes that all classes have into a class's docstring."""
    if cls.__doc__ is None:  # python -OO has none
        return cls
    letters = signature(cls).parameters["params"].default
    meanings = ", ".join(_MEANINGS[letter] for letter in letters)
    course = _COURSE.replace("{letters}", repr(letters)).replace("{meanings}", meanings)
    if "learning_decay" in signature(cls).parameters:
        course += _STREAM
    course += _FIT
    for mark, text in {
        "{chain_priors}": _CHAIN_PRIORS,
        "{course}": course,
        "{chain}": _CHAIN,
        "{fitted}": _FITTED,
    }.items():
        cls.__doc__ = cls.__doc__.replace(f"    {mark}\n", text)
    return cls
