"""
States: calm and troubled years of a stock
==========================================

The daily price of a share of Google, 2004 to 2008, as matplotlib ships it. A hidden Markov model of
its returns is given no dates: it finds that quiet days follow each other, and so do those on which
prices jump.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import cbook

from fastem import GaussianHMM
from fastem.plot import StatesDisplay

prices = cbook.get_sample_data("goog.npz")["price_data"]
dates, price = prices["date"], prices["adj_close"]
returns = 100 * np.diff(np.log(price))[:, None]  # in percent

# %%
# Two states, several starts; the calmer state is put first.

model = GaussianHMM(2, n_iter=200, tol=1e-6, n_init=5, random_state=0).fit(returns)
calm = int(model.covars_.ravel().argmin())
names = ["calm" if state == calm else "troubled" for state in range(2)]
for state, name in enumerate(names):
    spread, stay = np.sqrt(model.covars_[state, 0, 0]), model.transmat_[state, state]
    print(f"{name}: {spread:.1f} % a day, stays for {1 / (1 - stay):.0f} days")

figure, axes = plt.subplots(2, 1, figsize=(9, 5), sharex=True, layout="constrained")
StatesDisplay.from_estimator(model, returns, times=dates[1:], names=names, ax=axes[0])
axes[0].set_ylabel("return, %")
StatesDisplay(model.predict(returns), price[1:], times=dates[1:], n_states=2).plot(
    axes[1], names=names
)
axes[1].set_ylabel("price, $")
axes[1].get_legend().remove()
