"""Cases of topic models: PLSA, LDA, Gaussian LDA."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import scipy.sparse as sp
from case_base import Case

from fastem import PLSA, GaussianLDA, LatentDirichletAllocation
from fastem.components import gaussian
from fastem.topics.documents import Documents, Topics, padded
from fastem.topics.gaussian_lda_em import GaussianLDAEM, GaussianTopics, VectorDocuments
from fastem.topics.plsa_em import PLSAEM
from fastem.topics.variational import LDAEM

try:
    from reference import gaussian_lda as gaussian_lda_oracle
    from reference import lda as lda_oracle
    from reference import plsa as plsa_oracle
except ImportError:  # the oracle is not part of the installed package
    pytest.skip("the oracle, the folder bench/reference, is not here", allow_module_level=True)


@dataclass(frozen=True)
class PLSACase(Case):
    """PLSA on counts, some documents and words of which are empty."""

    n_features: int
    n_components: int
    n_samples: int

    chunk_rows: ClassVar[int] = 64  # what a strip hands to the leaf functions
    many_rows: ClassVar[int] = 2_100

    def __str__(self):
        size = f"{self.n_samples}x{self.n_features}-K{self.n_components}"
        return f"plsa-{size}-{np.dtype(self.dtype)}"

    def data(self, n_samples=None, seed=0):
        rng = np.random.default_rng(seed)
        rates = rng.gamma(0.3, 1.0, (n_samples or self.n_samples, self.n_features))
        X = rng.poisson(rates)
        X[3::17], X[:, 5::11] = 0, 0
        return X.astype(self.dtype)

    def start(self, X):
        rng = np.random.default_rng(2)
        topic_word = rng.uniform(0.1, 1, (self.n_components, X.shape[1]))
        topic_word /= topic_word.sum(axis=1, keepdims=True)
        sums = padded(topic_word.T, self.n_components, X.dtype)
        return Topics(sums, np.ones(self.n_components), 0.0)

    def _doc_topic(self, X):
        """Return p(z|d) that depends on the document alone, wherever it stands."""
        mixing = np.random.default_rng(3).uniform(size=(X.shape[1], self.n_components))
        doc_topic = 1 + X.astype(np.float64) @ mixing
        return doc_topic / doc_topic.sum(axis=1, keepdims=True)

    def model(self, reg_covar=0.0, n_threads=1):
        return PLSAEM(self.n_components, 0.0, 0.0, n_threads)

    def block(self, X, sample_weight=None):
        return Documents(sp.csr_array(X), sample_weight, first_doc_topic=self._doc_topic(X))

    def sums(self, statistics):
        return {
            "bound": statistics.bound,
            "weight": statistics.weight,
            "topic_word": statistics.word_topic.dense()[:, : self.n_components].T,
        }

    def expected(self, X, params, sample_weight=None):
        topic_word = params.probabilities().T.astype(np.float64)
        counts, doc_topic = sp.csr_array(X.astype(np.float64)), self._doc_topic(X)
        sums = plsa_oracle.e_step(counts, doc_topic, topic_word, sample_weight)
        return {name: sums[name] for name in ("bound", "weight", "topic_word")}

    def estimator(self, X, **parameters):
        topic_word = self.start(X).probabilities().T
        parameters = {"max_iter": 3, "tol": 0.0, "n_jobs": 1} | parameters
        return PLSA(self.n_components, init=(self._doc_topic(X), topic_word), **parameters)


@dataclass(frozen=True)
class LDACase(PLSACase):
    """LDA on the same counts, its documents updated 25 times from equal topics.

    `kind`: 'plain'; 'auto', both priors learned; 'guided', a prior for each word and topic;
    'point', topics that are point estimates.
    """

    kind: str = "plain"

    def __str__(self):
        return super().__str__().replace("plsa", f"lda-{self.kind}")

    def start(self, X):
        k = self.n_components
        rng = np.random.default_rng(2)
        lam = rng.gamma(2, 1, (X.shape[1], k)) + 0.1
        sums = padded(lam, k, X.dtype)
        if self.kind != "guided":
            return Topics(sums, lam.sum(axis=0), 0.0)
        guide = padded(self._eta().T, k, X.dtype)  # is added to the sums
        return Topics(sums, lam.sum(axis=0) + guide[:, :k].sum(axis=0), guide)

    def _eta(self):
        if self.kind == "guided":
            shape = (self.n_components, self.n_features)
            return np.random.default_rng(4).gamma(1.0, 0.2, shape) + 0.01
        return 0.0 if self.kind == "point" else 0.2

    def model(self, reg_covar=0.0, n_threads=1):
        prior, auto = np.full(self.n_components, 0.3), self.kind == "auto"
        return LDAEM(
            prior, self._eta(), n_threads, max_sweeps=25, tol=0.0, learn_doc_topic=auto,
            learn_topic_word=auto,
        )  # fmt: skip

    def block(self, X, sample_weight=None):
        return Documents(sp.csr_array(X), sample_weight)

    def sums(self, statistics):
        sums = super().sums(statistics)
        if self.kind == "auto":
            sums |= {"log_theta": statistics.log_theta, "n_docs": statistics.n_docs}
        return sums

    def expected(self, X, params, sample_weight=None):
        X, lam = X.astype(np.float64), params.components().astype(np.float64)
        point = self.kind == "point"
        gamma = np.ones((len(X), self.n_components))
        gamma = lda_oracle.update_gamma(X, gamma, lam, 0.3, 25, 0.0, point)
        weight = np.ones(len(X)) if sample_weight is None else sample_weight
        parts = [
            lda_oracle.e_step(x[None], g[None], lam, 0.3, point)
            for x, g in zip(X, gamma, strict=True)
        ]
        sums = {
            "bound": weight @ [bound for bound, _ in parts],
            "weight": weight @ X.sum(axis=1),
            "topic_word": sum(w * sums for w, (_, sums) in zip(weight, parts, strict=True)),
        }
        if self.kind == "auto":
            told = weight * X.any(axis=1)
            log_theta = told @ lda_oracle.expected_log(gamma)
            sums |= {"log_theta": log_theta, "n_docs": told.sum()}
        return sums

    def estimator(self, X, **parameters):
        # exact documents, or one update more or less would show in float32
        exact = {"mean_change_tol": 1e-6, "max_doc_update_iter": 500}
        auto = self.kind == "auto"
        priors = {"doc_topic_prior": "auto"} if auto else {}
        priors["topic_word_prior"] = "auto" if auto else self._eta()
        parameters = {"max_iter": 3, "random_state": 0, "n_jobs": 1} | priors | exact | parameters
        return LatentDirichletAllocation(self.n_components, **parameters)


@dataclass(frozen=True)
class GaussianLDACase(PLSACase):
    """Gaussian-topic LDA on the same counts, of vectors; `stacked`: as one vector for each count.

    The model then has blocks of their own vectors, the estimator counts in either case.
    """

    n_dimensions: int
    stacked: bool = False
    learn: bool = False

    def __str__(self):
        kind = ("-stacked" if self.stacked else "") + ("-auto" if self.learn else "")
        return super().__str__().replace("plsa", f"gaussian-lda{kind}-D{self.n_dimensions}")

    @property
    def vectors(self):
        rng = np.random.default_rng(6)
        return rng.normal(3, 1, (self.n_features, self.n_dimensions)).astype(self.dtype)

    def start(self, X):
        rng = np.random.default_rng(2)
        shape = self.n_components, self.n_dimensions
        means, variances = rng.normal(3, 0.7, shape), rng.uniform(0.5, 2, shape)
        alpha = rng.uniform(0.1, 1, self.n_components)
        return GaussianTopics(means, variances, variances**-0.5, alpha, np.dtype(self.dtype))

    def model(self, reg_covar=0.0, n_threads=1):
        vectors = None if self.stacked else gaussian.GaussianBlock.of(self.vectors, None)
        return GaussianLDAEM(
            self.start(None).doc_topic_prior, self.dtype, vectors, reg_covar, n_threads,
            max_sweeps=25, tol=0.0, learn=self.learn,
        )  # fmt: skip

    def block(self, X, sample_weight=None):
        (block,) = self._blocks(X, sample_weight)
        return block

    def e_step(self, X, params, sample_weight=None, n_threads=1):
        if X.dtype != self.dtype:  # the vectors have that of X
            case = replace(self, dtype=X.dtype.type)
            return case.e_step(X, case.start(X), sample_weight, n_threads)
        model = self.model(n_threads=n_threads)
        first, *others = (self.statistics(model, params, b) for b in self._blocks(X, sample_weight))
        return self.sums(sum(others, first))

    def _blocks(self, X, sample_weight):
        if not self.stacked:
            return VectorDocuments.of_counts(sp.csr_array(X), sample_weight)
        counts = X.astype(int)
        tokens = np.concatenate([np.repeat(self.vectors, row, axis=0) for row in counts])
        lengths = counts.sum(axis=1)
        return VectorDocuments.of_stacked(tokens, lengths, self.n_components, sample_weight)

    def sums(self, statistics):
        sums = {"bound": statistics.bound, "weight": statistics.weight}
        if self.learn:
            sums |= {"log_theta": statistics.log_theta, "n_docs": statistics.n_docs}
        if not self.stacked:
            word_topic = statistics.word_topic.dense()[:, : self.n_components]
            return sums | {"topic_word": word_topic.T}
        moments = statistics.moments
        first = moments.weight[:, None] * moments.mean
        return sums | {"resp": moments.weight, "first": first, "scatter": moments.scatter}

    def expected(self, X, params, sample_weight=None):
        X, vectors = X.astype(np.float64), self.vectors.astype(np.float64)
        alpha, k = params.doc_topic_prior, self.n_components
        log_densities = gaussian_lda_oracle.log_density(vectors, params.means, params.covariances)
        weight = np.ones(len(X)) if sample_weight is None else sample_weight
        bound, topic_word, log_theta = 0.0, np.zeros((len(vectors), k)), np.zeros(k)
        for w, counts in zip(weight, X, strict=True):
            gamma = gaussian_lda_oracle.update_gamma(
                log_densities, counts, np.ones(k), alpha, 25, 0.0
            )
            part, expected = gaussian_lda_oracle.document(log_densities, counts, gamma, alpha)
            bound += w * part
            topic_word += w * expected
            log_theta += w * counts.any() * lda_oracle.expected_log(gamma[None])[0]
        sums = {"bound": bound, "weight": weight @ X.sum(axis=1)}
        if self.learn:
            sums |= {"log_theta": log_theta, "n_docs": weight @ X.any(axis=1)}
        if not self.stacked:
            return sums | {"topic_word": topic_word.T}
        resp, mean, scatter = gaussian_lda_oracle.moments(vectors, topic_word)
        return sums | {"resp": resp, "first": resp[:, None] * mean, "scatter": scatter}

    def estimator(self, X, **parameters):
        exact = {"mean_change_tol": 1e-6, "max_doc_update_iter": 500}
        settings = {"max_iter": 3, "tol": 0.0, "random_state": 0, "n_jobs": 1} | exact | parameters
        return GaussianLDA(self.n_components, vectors=self.vectors, **settings)
