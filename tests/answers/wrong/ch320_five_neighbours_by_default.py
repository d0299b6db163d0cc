"""Wrong: without k five neighbours are returned."""

import numpy as np


def hot(ids, n):
    return np.equal(np.array(ids)[..., None], np.arange(n)).astype(float)


def embedding_forward(ids, table):
    table = np.array(table, dtype=float)
    rows = hot(ids, len(table))
    if not np.all(rows.sum(axis=-1) == 1):
        raise IndexError("id")
    return np.einsum("...v,vd->...d", rows, table)


def embedding_backward(dout, ids, n_rows):
    dout = np.array(dout, dtype=float)
    flat = dout.reshape(-1, dout.shape[-1])
    return hot(np.array(ids).ravel(), n_rows).T @ flat


def unit(x):
    x = np.array(x, dtype=float)
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return np.divide(x, length, out=np.zeros_like(x), where=length > 0)


def cosine_similarity(table, query):
    return unit(table) @ unit(query)


def nearest(table, query, k=5, exclude=()):
    similarity = cosine_similarity(table, query)
    ids = np.array([v for v in range(len(similarity)) if v not in set(exclude)], dtype=int)
    return ids[np.lexsort((ids, -similarity[ids]))][:k]


def analogy(table, a, b, c):
    table = np.array(table)
    return nearest(table, table[[b, c]].sum(axis=0) - table[a], exclude={a, b, c})[0]


def skipgram_pairs(tokens, window):
    tokens = np.array(tokens)
    gap = np.abs(np.subtract.outer(np.arange(len(tokens)), np.arange(len(tokens))))
    i, j = np.nonzero((gap > 0) & (gap <= window))
    return np.column_stack([tokens[i], tokens[j]])


def skipgram_softmax(centers, contexts, params):
    W_in, W_out = np.array(params["W_in"]), np.array(params["W_out"])
    n = len(W_in)
    c, t = hot(centers, n), hot(contexts, n)
    scores = np.einsum("bv,vd,wd->bw", c, W_in, W_out, optimize=True)
    log_sum = np.logaddexp.reduce(scores, axis=1)
    d = (np.exp(scores - log_sum[:, None]) - t) / len(c)
    grads = {"W_in": c.T @ d @ W_out, "W_out": d.T @ c @ W_in}
    return np.mean(log_sum - (scores * t).sum(axis=1)), grads


def sigmoid(s):
    return 0.5 * (1 + np.tanh(s / 2))


def skipgram_negative_sampling(centers, contexts, negatives, params):
    W_in, W_out = np.array(params["W_in"]), np.array(params["W_out"])
    n = len(W_in)
    c, t = hot(centers, n), hot(contexts, n)
    m = hot(negatives, n).sum(axis=1)
    scores = c @ W_in @ W_out.T
    loss = np.mean(np.sum(t * np.logaddexp(0, -scores) + m * np.logaddexp(0, scores), axis=1))
    d = (m * sigmoid(scores) - t * sigmoid(-scores)) / len(c)
    return loss, {"W_out": d.T @ (c @ W_in), "W_in": c.T @ (d @ W_out)}


def draw_negatives(counts, shape, rng):
    limits = np.cumsum(np.power(counts, 0.75))
    return np.searchsorted(limits, rng.uniform(0, limits[-1], size=shape), side="right")


class Trainer:
    def __init__(self, n_words, dim, rng):
        self.params = {key: rng.normal(0, 0.1, (n_words, dim)) for key in ("W_in", "W_out")}

    def step(self, centers, contexts, lr):
        loss, grads = skipgram_softmax(centers, contexts, self.params)
        for key, grad in grads.items():
            self.params[key] -= lr * grad
        return loss


def train_skipgram(pairs, n_words, dim, steps, lr, rng):
    trainer = Trainer(n_words, dim, rng)
    losses = [trainer.step(*np.transpose(pairs), lr) for _ in range(steps)]
    return trainer.params, losses
