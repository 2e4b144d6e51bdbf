"""The demonstration's topics that are Gaussians: images as bags of patches, topics as strokes."""

#: Pixels of a patch's side, topics, iterations at most, and the digits that are named for a topic.
SIDE, N_TOPICS, MAX_ITER, N_DIGITS = 4, 10, 60, 2


def show(screen, args):
    """Fit `GaussianLDA` to the patches of scikit-learn's digits, and draw its topics."""
    from time import perf_counter

    from sklearn.datasets import load_digits

    from fastem import GaussianLDA
    from fastem._cli.screen import seconds

    images, classes = load_digits(return_X_y=True)
    patches, lengths = patches_of(images.reshape(-1, 8, 8))
    screen.heading("Topics of images", f"each a bag of its {lengths[0]} patches of {SIDE} × {SIDE}")
    model = GaussianLDA(
        N_TOPICS,
        doc_topic_prior="auto",
        max_iter=MAX_ITER,
        random_state=args.seed,
        n_jobs=args.n_jobs,
    )
    begin = perf_counter()
    doc_topic = model.fit_transform(patches, lengths=lengths)
    took = perf_counter() - begin
    draw_topics(screen, model.means_, doc_topic, classes)
    told = accuracy(doc_topic, classes)
    screen.print()
    screen.print(f"  {len(patches):,} patches, {model.n_iter_} iterations, {seconds(took)}.")
    screen.print("  The digit, told from the topics' shares alone, wherever in the image they are:")
    screen.print(f"  {told:.0%} right.")


def patches_of(images):
    """Return all patches of images, stacked, and how many there are of each image."""
    import numpy as np

    windows = np.lib.stride_tricks.sliding_window_view(images, (SIDE, SIDE), axis=(1, 2))
    return windows.reshape(-1, SIDE * SIDE), np.full(len(images), windows[0, :, :, 0, 0].size)


def draw_topics(screen, means, doc_topic, classes):
    """Draw the mean patch of each topic, above its share and the digits that have most of it."""
    import numpy as np

    from fastem._cli.pictures import WIDTH, draw, side_by_side

    share = doc_topic.mean(axis=0)
    of_digit = np.array([doc_topic[classes == digit].mean(axis=0) for digit in range(10)])
    drawings = []
    for topic in np.argsort(-share):
        most = np.sort(np.argsort(-of_digit[:, topic])[:N_DIGITS])
        note = f"{share[topic]:.0%}: {', '.join(map(str, most))}"
        drawings.append([*draw(screen, means[topic].reshape(SIDE, SIDE)), note.center(WIDTH)])
    for line in side_by_side(screen, drawings):
        screen.print(line)


def accuracy(doc_topic, classes):
    """Return how many classes a logistic regression on topics tells right, of images held out."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    told = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return cross_val_score(told, doc_topic, classes, cv=5).mean()
