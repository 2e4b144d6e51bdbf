"""``python -m fastem cluster FILE --model kmeans``: the mixture's hard limit, on the same files.

- ``NAME.labels.csv``: for each row, in order, its cluster (from 0) and its distance to the center;
- ``NAME.kmeans.json``: the centers, and how they came about.
"""

from time import perf_counter


def main(args):
    """Read, fit, report, write."""
    from fastem._cli.files import read_table
    from fastem._cli.outputs import check_outputs, output_paths, write_all
    from fastem._cli.page import kmeans_pictures, page, screen_for
    from fastem._cli.table import check_table, show_table

    _check(args)
    paths = output_paths(args.file, args.output_dir, "labels.csv", "kmeans.json")
    check_outputs(paths, args.force)
    screen = screen_for(args)
    table = read_table(args.file, args.columns)
    check_table(args, table)
    show_table(screen, args.file, table)
    kmeans, seconds = _fit(args, table.X)
    _report(screen, args, table, kmeans, seconds)
    files = _files(paths, args, table, kmeans)
    if args.report is not None:
        files[args.report] = page(args.file, screen, kmeans_pictures(kmeans, table))
    write_all(files)
    screen.heading("Written")
    for path in files:
        screen.print(f"  {path}")


def _check(args):
    """Refuse options that mean nothing here."""
    from fastem._cli import CommandError

    if len(args.components) > 1:
        raise CommandError(
            "--model kmeans takes one number of clusters: there is no BIC to compare several by; "
            f"give -k {args.components[0]}, or --model mixture"
        )
    if args.covariance_type != "full":
        raise CommandError("--model kmeans has no covariances; leave out --covariance-type")


def _fit(args, X):
    """Return the fitted estimator and the seconds it took."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    from fastem import KMeans, em
    from fastem._cli.fitting import ProgressBar

    kmeans = KMeans(
        args.components[0],
        n_init=args.n_init,
        max_iter=args.max_iter,
        tol=args.tol,
        random_state=args.seed,
        n_jobs=args.n_jobs,
    )
    with ProgressBar(args.n_init, args.max_iter) as progress:
        progress.announce(f"K = {kmeans.n_clusters}")
        start = perf_counter()
        with em.watch(progress), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the report shows empty clusters
            kmeans.fit(X)
        elapsed = perf_counter() - start
    return kmeans, elapsed


def _report(screen, args, table, kmeans, seconds):
    """Print what was found."""
    import numpy as np

    from fastem._cli import report

    n_samples = len(table.X)
    inertias = [-n_samples * bound for bound in kmeans.lower_bounds_]
    screen.heading(
        "The inertia", f"sum of squared distances, by iteration, K = {kmeans.n_clusters}"
    )
    report.iterations(screen, "inertia", inertias, ",.6g")
    report.ending(screen, kmeans, seconds)
    screen.print(f"  inertia {kmeans.inertia_:,.6g} at the centers below")
    counts = np.bincount(kmeans.labels_, minlength=kmeans.n_clusters)
    report.components_section(
        screen,
        counts / n_samples,
        kmeans.cluster_centers_,
        table.names,
        counts,
        noun="cluster",
        size="share",
    )
    if args.compare:
        from fastem._cli.timing import compare_clusters

        n_iter = max(20, kmeans.n_iter_)
        timings, n_iter = compare_clusters(table.X, kmeans, n_iter=n_iter)
        report.timing_section(
            screen, timings, kmeans.n_clusters, table.X.shape, n_iter, objective="inertias"
        )


def _files(paths, args, table, kmeans):
    """Return what both files hold."""
    import numpy as np

    from fastem import __version__
    from fastem._cli.outputs import labels_csv, to_json

    gaps = table.X - kmeans.cluster_centers_[kmeans.labels_]
    content = {
        "fastem": __version__,
        "file": args.file,
        "columns": table.names,
        "n_samples": len(table.X),
        "settings": kmeans.get_params(),
        "converged": bool(kmeans.converged_),
        "n_iter": int(kmeans.n_iter_),
        "inertia": float(kmeans.inertia_),
        "cluster_centers": kmeans.cluster_centers_,
        "cluster_sizes": np.bincount(kmeans.labels_, minlength=kmeans.n_clusters),
        "inertias": [-len(table.X) * float(bound) for bound in kmeans.lower_bounds_],
    }
    distances = np.sqrt(np.einsum("ij,ij->i", gaps, gaps))
    labels_path, json_path = paths
    return {
        labels_path: labels_csv(kmeans.labels_, distances, "distance"),
        json_path: to_json(content),
    }
