"""Pictures of fitted models, in the manner of scikit-learn's displays; they need matplotlib.

``pip install 'fastem[plot]'`` installs it. A display is made by ``from_estimator``, keeps what it
draws as attributes, and draws itself on any axes by ``plot(ax=...)``.
"""

from fastem.plot._animation import animate
from fastem.plot._bounds import LowerBoundDisplay
from fastem.plot._mixture import MixtureDisplay
from fastem.plot._profiles import ProfilesDisplay
from fastem.plot._selection import SelectionDisplay
from fastem.plot._states import StatesDisplay
from fastem.plot._topics import TopicsDisplay, prepare_topics

__all__ = [
    "LowerBoundDisplay",
    "MixtureDisplay",
    "ProfilesDisplay",
    "SelectionDisplay",
    "StatesDisplay",
    "TopicsDisplay",
    "animate",
    "prepare_topics",
]
