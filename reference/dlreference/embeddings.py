"""Vectors for tokens: lookup and its gradient, neighbours, analogies, and skip-gram (Mikolov et al. 2013)."""

from collections.abc import Iterable, Mapping

import numpy as np

from dlreference.activations import sigmoid, softplus
from dlreference.arrays import Array, ArrayLike, Labels, Params, as_float, as_labels
from dlreference.losses import cross_entropy


def embedding_forward(ids: ArrayLike, table: ArrayLike) -> Array:
    """Rows of the table: ids (...) in 0..V-1, table (V, d) -> (..., d). Equals one_hot(ids) @ table.

    Raises IndexError for an id beyond the table and ValueError for a negative one.
    """
    ids = as_labels(ids)
    if ids.size and ids.min() < 0:
        raise ValueError(f"ids must not be negative, got {ids.min()}")
    return as_float(table)[ids]


def embedding_backward(dout: ArrayLike, ids: ArrayLike, n_rows: int) -> Array:
    """dtable (V, d) for dout (..., d) at ids (...): a token that occurs twice collects both gradients."""
    dout, ids = as_float(dout), as_labels(ids)
    dtable = np.zeros((n_rows, dout.shape[-1]))
    np.add.at(dtable, ids.ravel(), dout.reshape(-1, dout.shape[-1]))
    return dtable


def cosine_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """a . b / (||a|| ||b||) over the last axis, leading axes broadcast; 0 where a vector is zero."""
    a, b = as_float(a), as_float(b)
    return (_unit(a) * _unit(b)).sum(axis=-1)


def _unit(x: Array) -> Array:
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / np.where(norm == 0.0, 1.0, norm)


def nearest_neighbours(table: ArrayLike, query: ArrayLike, k: int = 1, exclude: Iterable[int] = ()) -> Labels:
    """The k rows of table (V, d) most similar to query (d,) by cosine, best first: (k,) ids, fewer if V runs out.

    Rows in `exclude` do not take part; of equals the lower id comes first.
    """
    similarity = cosine_similarity(table, query)
    ranking = np.argsort(-similarity, kind="stable")
    return as_labels(ranking[~np.isin(ranking, list(exclude))][:k])


def analogy(table: ArrayLike, a: int, b: int, c: int, k: int = 1) -> Labels:
    """ "a is to b as c is to ?": the k rows nearest to b - a + c by cosine, never a, b or c themselves: (k,) ids."""
    table = as_float(table)
    return nearest_neighbours(table, table[b] - table[a] + table[c], k, exclude=(a, b, c))


def skipgram_pairs(tokens: ArrayLike, window: int) -> Labels:
    """All (centre, context) token ids at most `window` apart, the centre itself excluded: tokens (N,) -> (P, 2).

    Ordered by the centre's position, then by the context's; at the ends the window is what is left of it.
    """
    tokens = as_labels(tokens)
    offsets = np.array([o for o in range(-window, window + 1) if o != 0], dtype=np.int64)
    places = np.arange(len(tokens))[:, None] + offsets
    centre, column = np.nonzero((places >= 0) & (places < len(tokens)))
    return np.stack([tokens[centre], tokens[places[centre, column]]], axis=1)


def negative_sampling_distribution(counts: ArrayLike, power: float = 0.75) -> Array:
    """Probability of drawing each token as a negative: counts^power, normalised. counts (V,) -> (V,)."""
    raised = as_float(counts) ** power
    return raised / raised.sum()


def skipgram_softmax(centers: ArrayLike, contexts: ArrayLike, params: Mapping[str, ArrayLike]) -> tuple[float, Params]:
    """Cross-entropy of softmax(W_out v) at the context, v = W_in[centre]; the mean over the pairs.

    centers, contexts (B,); W_in, W_out (V, d). Returns the loss and the dict of gradients.
    """
    w_out = as_float(params["W_out"])
    v = embedding_forward(centers, params["W_in"])
    loss, dscores = cross_entropy(v @ w_out.T, contexts)
    return loss, {"W_in": embedding_backward(dscores @ w_out, centers, len(w_out)), "W_out": dscores.T @ v}


def skipgram_negative_sampling(
    centers: ArrayLike, contexts: ArrayLike, negatives: ArrayLike, params: Mapping[str, ArrayLike]
) -> tuple[float, Params]:
    """-log sigmoid(u . v) - sum over negatives of log sigmoid(-u_k . v), the mean over the pairs.

    centers, contexts (B,), negatives (B, K); v = W_in[centre], u = W_out[context], u_k = W_out[negative], both (V, d).
    Returns the loss and the dict of gradients.
    """
    v = embedding_forward(centers, params["W_in"])
    drawn = np.concatenate([as_labels(contexts)[:, None], as_labels(negatives)], axis=1)
    u = embedding_forward(drawn, params["W_out"])
    # The context is a positive, label 1; softplus(-s) = -log sigmoid(s), and a negative's score counts reversed.
    sign = np.where(np.arange(drawn.shape[1]) == 0, -1.0, 1.0)
    wrongness = sign * (u @ v[..., None])[..., 0]
    loss = float(softplus(wrongness).sum(axis=1).mean())
    dscores = sign * sigmoid(wrongness) / len(v)
    n_rows = len(as_float(params["W_in"]))
    dv = (dscores[:, None] @ u)[:, 0]
    du = dscores[..., None] * v[:, None]
    return loss, {"W_in": embedding_backward(dv, centers, n_rows), "W_out": embedding_backward(du, drawn, n_rows)}
