"""Wrong: gradients in float32 are added up in float32."""

import math


def floats(table):
    return [[float(v) for v in row] for row in table]


def is_nested(x):
    return hasattr(x, "__len__")


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def embedding_forward(ids, table):
    if is_nested(ids):
        return [embedding_forward(part, table) for part in ids]
    if ids < 0 or ids >= len(table):
        raise IndexError(f"no row {ids}")
    return [float(v) for v in table[int(ids)]]


def embedding_backward(dout, ids, n_rows):
    dout, ids = np.asarray(dout), np.asarray(ids)
    dtable = np.zeros((n_rows, dout.shape[-1]), dtype=dout.dtype)
    np.add.at(dtable, ids, dout)
    return dtable


def cosine_similarity(table, query):
    query = [float(v) for v in query]
    size = math.hypot(*query)
    answers = []
    for row in floats(table):
        length = math.hypot(*row)
        answers.append(dot(row, query) / (length * size) if length > 0 and size > 0 else 0.0)
    return answers


def nearest(table, query, k=1, exclude=()):
    similarity = cosine_similarity(table, query)
    left = [v for v in range(len(similarity)) if v not in list(exclude)]
    return sorted(left, key=lambda v: (-similarity[v], v))[:k]


def analogy(table, a, b, c):
    query = [y - x + z for x, y, z in zip(table[a], table[b], table[c])]
    return nearest(table, query, exclude=[a, b, c])[0]


def skipgram_pairs(tokens, window):
    pairs = []
    for i, centre in enumerate(tokens):
        before = list(tokens[max(i - window, 0) : i])
        after = list(tokens[i + 1 : i + 1 + window])
        pairs += [[int(centre), int(context)] for context in before + after]
    return pairs


def skipgram_softmax(centers, contexts, params):
    W_in, W_out = floats(params["W_in"]), floats(params["W_out"])
    grads = {name: [[0.0] * len(W_in[0]) for _ in W_in] for name in ("W_in", "W_out")}
    loss, batch = 0.0, len(centers)
    for centre, context in zip(centers, contexts):
        v, dv = W_in[centre], grads["W_in"][centre]
        scores = [dot(u, v) for u in W_out]
        top = max(scores)
        log_sum = top + math.log(sum(math.exp(s - top) for s in scores))
        loss += (log_sum - scores[context]) / batch
        for w, s in enumerate(scores):
            d = (math.exp(s - log_sum) - (1.0 if w == context else 0.0)) / batch
            du, u = grads["W_out"][w], W_out[w]
            for i in range(len(v)):
                dv[i] += d * u[i]
                du[i] += d * v[i]
    return loss, grads


def softplus(s):
    return max(s, 0.0) + math.log1p(math.exp(-abs(s)))


def skipgram_negative_sampling(centers, contexts, negatives, params):
    W_in, W_out = floats(params["W_in"]), floats(params["W_out"])
    grads = {name: [[0.0] * len(W_in[0]) for _ in W_in] for name in ("W_in", "W_out")}
    loss, batch = 0.0, len(centers)
    for centre, context, others in zip(centers, contexts, negatives):
        v = W_in[centre]
        for sign, word in [(-1.0, context)] + [(1.0, w) for w in others]:
            u = W_out[word]
            s = sign * dot(u, v)
            loss += softplus(s) / batch
            d = sign * math.exp(-softplus(-s)) / batch
            for i in range(len(v)):
                grads["W_in"][centre][i] += d * u[i]
                grads["W_out"][word][i] += d * v[i]
    return loss, grads


def draw_negatives(counts, shape, rng):
    powers = [float(c) ** 0.75 for c in counts]
    limits, total = [], 0.0
    for p in powers:
        total += p
        limits.append(total)

    def one():
        u = rng.random() * total
        return next(w for w, limit in enumerate(limits) if u < limit)

    def many(sizes):
        return [many(sizes[1:]) if sizes[1:] else one() for _ in range(sizes[0])]

    return many(list(shape))


def train_skipgram(pairs, n_words, dim, steps, lr, rng):
    params = {"W_in": rng.normal(scale=0.1, size=(n_words, dim)).tolist()}
    params["W_out"] = rng.normal(scale=0.1, size=(n_words, dim)).tolist()
    centers, contexts = [int(pair[0]) for pair in pairs], [int(pair[1]) for pair in pairs]
    losses = []
    for _ in range(steps):
        loss, grads = skipgram_softmax(centers, contexts, params)
        losses.append(loss)
        for name in params:
            params[name] = [[w - lr * g for w, g in zip(*rows)] for rows in zip(params[name], grads[name])]
    return params, losses
