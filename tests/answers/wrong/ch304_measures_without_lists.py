"""Wrong: the gap and the statistics take arrays only, though plain lists are promised."""

import numpy as np


def logistic(z):
    out = np.empty(z.shape)
    low = z < 0
    out[~low] = 1 / (1 + np.exp(-z[~low]))
    e = np.exp(z[low])
    out[low] = e / (1 + e)
    return out


TABLE = {
    "identity": lambda z: z,
    "relu": lambda z: np.where(z > 0, z, 0),
    "tanh": np.tanh,
    "sigmoid": logistic,
}


def activate(z, name):
    return TABLE[name](np.array(z, dtype=float))


def layer_forward(a_prev, W, b):
    columns = np.asarray(W, float) @ np.asarray(a_prev, float).T + np.reshape(b, (-1, 1))
    return columns.T


def forward(X, params, activations):
    def descend(a, layer):
        if layer > len(activations):
            return a, ()
        W, b = np.asarray(params[f"W{layer}"], float), np.asarray(params[f"b{layer}"], float)
        z = np.einsum("bi,oi->bo", a, W) + b
        after = activate(z, activations[layer - 1])
        out, rest = descend(after, layer + 1)
        return out, ((a, z, after), *rest)

    return descend(np.asarray(X, float), 1)


def batch_gap(batched, single, X):
    together = batched(X)
    return max(np.abs(together[i] - single(X[i, :])).max() for i in range(X.shape[0]))


def shapes(widths, batch):
    L = len(widths) - 1
    return (
        {"X": (batch, widths[0])}
        | {f"W{l + 1}": (widths[l + 1], widths[l]) for l in range(L)}
        | {f"b{l + 1}": (widths[l + 1],) for l in range(L)}
        | {f"{k}{l + 1}": (batch, widths[l + 1]) for l in range(L) for k in "za"}
    )


def cache_floats(widths, batch):
    widths = np.asarray(widths)
    return np.int64(batch) * (widths[0] + 2 * widths[1:].sum())


def layer_statistics(X, params, activations):
    a, means, stds = X, [], []
    for n, name in enumerate(activations, 1):
        a = activate(a @ params[f"W{n}"].T + params[f"b{n}"], name)
        means.append(a.mean())
        stds.append(a.std())
    return means, stds
