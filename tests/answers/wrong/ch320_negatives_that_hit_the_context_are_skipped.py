"""Wrong: a negative that happens to be the true context is left out of the loss."""

import numpy as np

WORDS = ["king", "queen", "man", "woman", "boy", "girl", "actor", "actress"]
WORDS += ["crown", "work", "school", "stage", "he", "she"]


def toy_corpus(count, rng):
    kind, gender = (rng.integers(4, size=count), rng.integers(2, size=count))
    return np.stack([8 + kind, 2 * kind + gender, 12 + gender], axis=1)


def embedding_forward(ids, table):
    ids = np.asarray(ids, dtype=np.int64)
    table = np.asarray(table, dtype=np.float64)
    if np.any(ids < 0) or np.any(ids >= len(table)):
        raise IndexError("an id is outside of the table")
    return table[ids]


def embedding_backward(dout, ids, n_rows):
    dout = np.asarray(dout, dtype=np.float64)
    ids = np.asarray(ids, dtype=np.int64)
    dtable = np.zeros((n_rows, dout.shape[-1]))
    np.add.at(dtable, ids, dout)
    return dtable


def cosine_similarity(table, query):
    table = np.asarray(table, dtype=np.float64)
    query = np.asarray(query, dtype=np.float64)
    lengths = np.sqrt(np.sum(table**2, axis=1)) * np.sqrt(np.sum(query**2))
    return table @ query / np.where(lengths == 0.0, 1.0, lengths)


def nearest(table, query, k=1, exclude=()):
    ranking = np.argsort(-cosine_similarity(table, query), kind="stable")
    return [int(v) for v in ranking if v not in exclude][:k]


def analogy(table, a, b, c):
    table = np.asarray(table, dtype=np.float64)
    return nearest(table, table[b] - table[a] + table[c], k=1, exclude=(a, b, c))[0]


def skipgram_pairs(tokens, window):
    pairs = []
    for i in range(len(tokens)):
        for j in range(max(0, i - window), min(len(tokens), i + window + 1)):
            if j != i:
                pairs.append((tokens[i], tokens[j]))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def skipgram_softmax(centers, contexts, params):
    centers, contexts = (np.asarray(centers, dtype=np.int64), np.asarray(contexts, dtype=np.int64))
    W_out = np.asarray(params["W_out"], dtype=np.float64)
    v = embedding_forward(centers, params["W_in"])
    batch = len(centers)
    scores = v @ W_out.T
    shifted = scores - np.max(scores, axis=1, keepdims=True)
    log_p = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    rows = np.arange(batch)
    loss = -np.sum(log_p[rows, contexts]) / batch
    dscores = np.exp(log_p)
    dscores[rows, contexts] -= 1.0
    dscores /= batch
    grads = {"W_in": embedding_backward(dscores @ W_out, centers, len(W_out)), "W_out": dscores.T @ v}
    return (loss, grads)


def skipgram_negative_sampling(centers, contexts, negatives, params):
    centers = np.asarray(centers, dtype=np.int64)
    words = np.column_stack([np.asarray(contexts, dtype=np.int64), np.asarray(negatives, dtype=np.int64)])
    v = embedding_forward(centers, params["W_in"])
    u = embedding_forward(words, params["W_out"])
    batch, n_rows = (len(centers), len(params["W_in"]))
    scores = np.sum(u * v[:, None, :], axis=2)
    is_context = np.zeros(scores.shape)
    is_context[:, 0] = 1.0
    counts = np.ones(scores.shape)
    counts[:, 1:] = words[:, 1:] != words[:, :1]
    losses = counts * np.logaddexp(0.0, np.where(is_context == 1.0, -scores, scores))
    dscores = counts * (np.exp(-np.logaddexp(0.0, -scores)) - is_context) / batch
    dv = np.sum(dscores[:, :, None] * u, axis=1)
    du = dscores[:, :, None] * v[:, None, :]
    grads = {"W_in": embedding_backward(dv, centers, n_rows), "W_out": embedding_backward(du, words, n_rows)}
    return (np.sum(losses) / batch, grads)


def draw_negatives(counts, shape, rng):
    weights = np.asarray(counts, dtype=np.float64) ** 0.75
    return rng.choice(len(weights), size=shape, p=weights / np.sum(weights))


def train_skipgram(pairs, n_words, dim, steps, lr, rng):
    pairs = np.asarray(pairs, dtype=np.int64)
    params = {}
    for name in ("W_in", "W_out"):
        params[name] = rng.normal(scale=0.1, size=(n_words, dim))
    losses = np.zeros(steps)
    for step in range(steps):
        losses[step], grads = skipgram_softmax(pairs[:, 0], pairs[:, 1], params)
        params = {name: params[name] - lr * grads[name] for name in params}
    return (params, losses)
