"""Shows how a fit gets on."""

from tqdm import tqdm

from fastem import em


class ProgressBar(em.Callback):
    """Progress on stderr, if that is a terminal: one bar over all restarts of several fits."""

    def __init__(self, n_restarts, max_iter):
        self.max_iter = max_iter
        self.done = 0
        self.bar = tqdm(
            total=n_restarts * max_iter,
            desc="fitting",
            disable=None,
            leave=False,
            dynamic_ncols=True,
            bar_format="{desc} {bar} {percentage:3.0f} % [{elapsed}]{postfix}",
        )

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.bar.close()

    def announce(self, text):
        """Say what is being done."""
        self.bar.set_postfix_str("", refresh=False)
        self.bar.set_description_str(f"fitting {text}")

    def on_init_begin(self, init):
        """Begin to count this restart's iterations."""
        self.done = 0

    def on_iteration_end(self, state):
        """Show the bound."""
        self.done += 1
        self.bar.set_postfix_str(
            f"start {state.init + 1}, iteration {state.iteration}, bound {state.lower_bound:.6g}",
            refresh=False,
        )
        self.bar.update(1)

    def on_init_end(self, init, result):
        """Skip the iterations that this restart did not need."""
        self.bar.update(self.max_iter - self.done)
