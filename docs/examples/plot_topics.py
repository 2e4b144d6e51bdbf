"""
Topics of a manual
==================

Every Python carries the chapters of its language reference that ``help()`` shows: a small corpus
of real text that needs no download. Its paragraphs are the documents.
"""

from pydoc_data.topics import topics as chapters

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

from fastem import LatentDirichletAllocation

paragraphs = [p for text in chapters.values() for p in text.split("\n\n") if len(p) > 200]
counter = CountVectorizer(stop_words="english", token_pattern=r"[a-z_]{3,}", min_df=5, max_df=0.2)
X = counter.fit_transform(dict.fromkeys(paragraphs))  # chapters repeat some of them
words = counter.get_feature_names_out()
print(f"{X.shape[0]} paragraphs, {X.shape[1]} words")

# %%
# The prior of each topic is learned: topics are not equally frequent.

lda = LatentDirichletAllocation(
    8, doc_topic_prior="auto", topic_word_prior=0.05, max_iter=60, random_state=2
).fit(X)
probabilities = lda.components_ / lda.components_.sum(axis=1, keepdims=True)
frequent = np.argsort(-lda.doc_topic_prior_)

# %%
# The most probable words of the four most frequent topics.

figure, axes = plt.subplots(1, 4, figsize=(11, 3.4))
for axis, topic in zip(axes, frequent[:4], strict=True):
    top = np.argsort(-probabilities[topic])[:9]
    axis.barh(words[top], probabilities[topic, top], color="#459db9")
    axis.invert_yaxis()
    axis.set_title(f"topic {topic}: alpha = {lda.doc_topic_prior_[topic]:.2f}", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    axis.locator_params(axis="x", nbins=3)
figure.tight_layout()

# %%
# How often the words of a topic meet in one paragraph: the mean NPMI of their pairs, from -1 to 1.

for topic, coherence in enumerate(lda.coherence(X, measure="npmi")):
    print(f"{coherence:5.2f}  {' '.join(lda.top_words(words, 8)[topic])}")
