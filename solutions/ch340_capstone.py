"""Chapter 340: Capstone II: End-to-End Deep Learning System

A machine reports four readings and a log of events. Which part will fail, if any? Neither source can say it alone: the
log tells which part is in question, the readings tell whether that part is in trouble. You build the whole system that
answers: preparing the data without a leak, a network that reads both, every gradient by formula, the training run, and
then what is so often left out: is it better than guessing, can its probabilities be trusted, and why does it say so?

    log (B, T) -> embedding -> LSTM -> attention pooling ---> (B, H) +
                                                                     +-> linear, batch norm, ReLU, dropout -> linear
    readings, standardised ---------------------------------> (B, D) +

The data are generated (`make_records` below), and everything about them is said. About half of all records are of class
0, "nothing fails". Always answering that is right 50 times in 100; the best rule that sees the readings only is right
about 54 times, and the best that sees the log only 50 times. Who sees both, but counts all events of a log, those from
before the restart as well, comes to about 91; who knows the rule, to 97.9. Your system must reach 95.

Conventions, here and in every chapter:
  - the batch is the first axis: readings are (B, D), tokens (B, T), labels (B,) from 0; weights are (out, in);
  - token 0 is padding, token 1 a restart, 2 to 7 are kinds of events;
  - params is a dict E (V, d); W_ih (4H, d), W_hh (4H, H), b_ih, b_hh (4H,); w_att (H,); W1 (N, H + D); gamma, beta
    (N,); W2 (K, N), b2 (K,). Gradients are a dict with the same keys. state is a dict mean, var (N,): running
    statistics;
  - the loss is a mean over the batch, whose 1/B enters once, in the gradient at the logits;
  - random numbers come from the rng that is handed in, in the order that is stated; functions work in float64, accept
    lists, and never modify what they are given. A cache is whatever your own backward wants to find again.

The LSTM (chapter 318), AdamW (chapter 312) and the first parameters are given; you have built them before.

Run `dlgrade check ch340` as often as you like; `dlgrade hint ch340 attention_pool` helps you on. Every stage has its
own points: an unfinished training loop does not cost the forward pass. `python ch340_capstone.py` trains it.
"""

import numpy as np

PAD, RESTART = 0, 1
VOCAB = 8
LENGTH = 14
EPS = 1e-5
MOMENTUM = 0.1


def make_records(n_machines, rng):
    """Given: five records of each machine. Returns (X, logs, labels, machines).

    X (n, 4): temperature in C, pressure in bar, vibration in mm/s, age in years. The first three belong to the parts 0,
    1 and 2; each is low or high, two groups around -1 and +1 with a standard deviation of 0.4, then brought to its
    unit. The age is that of the machine and means nothing.
    logs: n lists of events, 4 to 14 long: up to seven events of any kind, a RESTART, and three to six more. The kind
    that is most frequent after the restart belongs to the part in question: kinds 2 and 3 to part 0, 4 and 5 to part
    1, 6 and 7 to part 2.
    labels (n,): 0, nothing fails, or part + 1, with the probability sigmoid(6 * reading of that part before its unit).
    machines (n,): the number of the machine.
    """
    n = 5 * n_machines
    machines = np.repeat(np.arange(n_machines), 5)
    part = rng.integers(0, 3, size=n)
    kind = 2 + 2 * part + rng.integers(0, 2, size=n)
    standard = rng.choice([-1.0, 1.0], size=(n, 3)) + rng.normal(0.0, 0.4, size=(n, 3))
    fails = rng.random(n) < 1.0 / (1.0 + np.exp(-6.0 * standard[np.arange(n), part]))
    age = rng.uniform(0.0, 20.0, size=n_machines)[machines]
    X = np.column_stack([standard * [12.0, 0.8, 0.6] + [70.0, 5.0, 2.5], age])
    logs = []
    for i in range(n):
        before = rng.integers(2, VOCAB, size=rng.integers(0, 8))
        count = int(rng.integers(3, 7))
        often = count // 2 + 1
        # The other kinds come from 2..7 without the one that must be the most frequent.
        others = 2 + (kind[i] - 2 + rng.integers(1, 6, size=count - often)) % 6
        after = rng.permutation(np.concatenate([np.repeat(kind[i], often), others]))
        logs.append([*before.tolist(), RESTART, *after.tolist()])
    return X, logs, np.where(fails, part + 1, 0), machines


def init_params(sizes, n_table, n_classes, rng):
    """Given: parameters and running statistics of a new network, for sizes = (d, H, N). Returns (params, state)."""
    d, hidden, width = sizes
    joined = hidden + n_table
    bound = 1.0 / np.sqrt(hidden)
    params = {"E": rng.normal(0.0, 0.5, size=(VOCAB, d))}
    for name, shape in (("W_ih", (4 * hidden, d)), ("W_hh", (4 * hidden, hidden))):
        params[name] = rng.uniform(-bound, bound, size=shape)
    params["b_ih"], params["b_hh"] = np.zeros(4 * hidden), np.zeros(4 * hidden)
    # The forget gate starts open.
    params["b_ih"][hidden : 2 * hidden] = 1.0
    params["w_att"] = rng.normal(0.0, bound, size=hidden)
    params["W1"] = rng.normal(0.0, np.sqrt(2.0 / joined), size=(width, joined))
    params["gamma"], params["beta"] = np.ones(width), np.zeros(width)
    params["W2"] = rng.normal(0.0, np.sqrt(1.0 / width), size=(n_classes, width))
    params["b2"] = np.zeros(n_classes)
    return params, {"mean": np.zeros(width), "var": np.ones(width)}


def lstm_forward(x, params):
    """Given: the LSTM of chapter 318 from a zero state, x (B, T, d). Returns (all states (B, T, H), cache)."""
    W_ih, W_hh, b_ih, b_hh = (np.asarray(params[n], dtype=np.float64) for n in ("W_ih", "W_hh", "b_ih", "b_hh"))
    batch, steps, hidden = len(x), x.shape[1], W_hh.shape[1]
    a = x @ W_ih.T + (b_ih + b_hh)
    h, c = np.zeros((steps + 1, batch, hidden)), np.zeros((steps + 1, batch, hidden))
    gates, tanh_c = np.empty((steps, 4, batch, hidden)), np.empty((steps, batch, hidden))
    for t in range(steps):
        i, f, g, o = np.split(a[:, t] + h[t] @ W_hh.T, 4, axis=1)
        # sigmoid(z) = (1 + tanh(z / 2)) / 2 never overflows.
        i, f, o = (0.5 + 0.5 * np.tanh(0.5 * z) for z in (i, f, o))
        g = np.tanh(g)
        gates[t] = i, f, g, o
        c[t + 1] = f * c[t] + i * g
        tanh_c[t] = np.tanh(c[t + 1])
        h[t + 1] = o * tanh_c[t]
    return h[1:].transpose(1, 0, 2), (x, W_ih, W_hh, h, c, gates, tanh_c)


def lstm_backward(dhs, cache):
    """Given: (dx, grads) of `lstm_forward` for dhs (B, T, H), the gradients at all states."""
    x, W_ih, W_hh, h, c, gates, tanh_c = cache
    batch, steps, hidden = dhs.shape
    da = np.empty((steps, batch, 4 * hidden))
    dh, dc = np.zeros((batch, hidden)), np.zeros((batch, hidden))
    for t in reversed(range(steps)):
        i, f, g, o = gates[t]
        dh = dh + dhs[:, t]
        dc = dc + dh * o * (1.0 - tanh_c[t] ** 2)
        parts = (dc * g * i * (1 - i), dc * c[t] * f * (1 - f), dc * i * (1 - g**2), dh * tanh_c[t] * o * (1 - o))
        da[t] = np.concatenate(parts, axis=1)
        dc, dh = dc * f, da[t] @ W_hh
    flat, bias = da.reshape(-1, 4 * hidden), da.sum(axis=(0, 1))
    grads = {"b_ih": bias, "b_hh": bias.copy(), "W_hh": flat.T @ h[:-1].reshape(-1, hidden)}
    grads["W_ih"] = flat.T @ x.transpose(1, 0, 2).reshape(steps * batch, -1)
    return (flat @ W_ih).reshape(steps, batch, -1).transpose(1, 0, 2), grads


def adamw_step(params, grads, optimizer, lr, weight_decay=0.01):
    """Given: AdamW. Only matrices decay. The optimizer is {} at first. Returns (params, optimizer), both new."""
    t = optimizer.get("t", 0) + 1
    new, m, v = {}, {}, {}
    for name, w in params.items():
        m[name] = 0.9 * optimizer.get("m", {}).get(name, 0.0) + 0.1 * grads[name]
        v[name] = 0.999 * optimizer.get("v", {}).get(name, 0.0) + 0.001 * grads[name] ** 2
        decayed = w * (1.0 - lr * weight_decay) if np.ndim(w) == 2 else w
        new[name] = decayed - lr * (m[name] / (1 - 0.9**t)) / (np.sqrt(v[name] / (1 - 0.999**t)) + 1e-8)
    return new, {"t": t, "m": m, "v": v}


# --- Stage 1: data ----------------------------------------------------------------------------------------------------


def dominant_events(tokens):
    """What the log is about: the most frequent event since the last RESTART.

    Only events after the last 1 of a row count; without a 1 the whole row counts. Padding (0) never counts. Of several
    equally frequent events it is the one with the lowest number; of none at all it is 0.

    tokens: (B, T), whole numbers from 0 to 7.
    Returns whole numbers (B,).

    Example: dominant_events([[2, 2, 2, 1, 5, 3, 5, 0, 0], [4, 6, 4, 6, 7, 0, 0, 0, 0]]) gives [5, 4].
    """
    ### BEGIN SOLUTION
    found = []
    for row in np.asarray(tokens):
        restarts = np.flatnonzero(row == RESTART)
        recent = row[restarts[-1] + 1 :] if len(restarts) else row
        counts = np.bincount(recent, minlength=VOCAB)
        counts[PAD] = 0
        # argmax of the COUNTS is the mode; of equal counts it takes the first. Without any count it says 0.
        found.append(np.argmax(counts))
    return np.array(found, dtype=np.int64)
    ### END SOLUTION


def split_machines(machines, n_val, n_test, rng):
    """Training, validation and test set, with all records of a machine in the same one.

    Records of one machine resemble each other. Split record by record, the test set would hold neighbours of what was
    learned, and flatter. So machines are split, not records: one draw, order = rng.permutation(np.unique(machines));
    the first n_test machines of it are the test set, the next n_val the validation set, all others the training set.

    machines: the machine of every record, (n,), whole numbers. n_val, n_test: numbers of machines.
    Returns (train, val, test): three arrays of record indices, each in ascending order.

    Example: for machines [7, 7, 3, 9, 3], one for each set, and order [3, 9, 7] it gives ([0, 1], [3], [2, 4]).
    """
    ### BEGIN SOLUTION
    machines = np.asarray(machines)
    order = rng.permutation(np.unique(machines))
    groups = order[n_test + n_val :], order[n_test : n_test + n_val], order[:n_test]
    return tuple(np.flatnonzero(np.isin(machines, group)) for group in groups)
    ### END SOLUTION


def pad_logs(logs, length):
    """Logs of different lengths as one array: each from the left, filled up with PAD (0) on the right.

    A log longer than `length` keeps its LAST events: what happened recently counts.

    logs: a list of n lists of whole numbers; a list may be empty. length: a whole number.
    Returns whole numbers (n, length).

    Example: pad_logs([[5], [2, 3, 4, 6]], 3) gives [[5, 0, 0], [3, 4, 6]].
    """
    ### BEGIN SOLUTION
    tokens = np.full((len(logs), length), PAD, dtype=np.int64)
    for row, log in zip(tokens, logs, strict=True):
        recent = list(log)[-length:]
        row[: len(recent)] = recent
    return tokens
    ### END SOLUTION


def fit_scaler(X):
    """What standardising needs to know: mean and standard deviation of every column, of the TRAINING readings.

    The standard deviation is the biased one, np.std(X, axis=0). Where it is 0, the column being constant, it is
    replaced by 1, so that nothing is ever divided by 0.

    X: (n, D).
    Returns (mean, std): two arrays (D,).

    Example: fit_scaler([[1.0, 5.0], [3.0, 5.0]]) gives ([2, 5], [1, 1]).
    """
    ### BEGIN SOLUTION
    X = np.asarray(X, dtype=np.float64)
    std = np.std(X, axis=0)
    return np.mean(X, axis=0), np.where(std == 0, 1.0, std)
    ### END SOLUTION


def apply_scaler(X, scaler):
    """Standardise readings with a scaler that was fitted BEFORE, on other records perhaps: (X - mean) / std.

    X: (n, D), also n = 1. scaler: what `fit_scaler` returned.
    Returns an array (n, D).

    Example: apply_scaler([[4.0, 7.0]], ([2.0, 5.0], [1.0, 1.0])) gives [[2, 2]].
    """
    ### BEGIN SOLUTION
    # Nothing is computed from X itself: a record must mean the same, whatever company it comes in.
    mean, std = (np.asarray(part, dtype=np.float64) for part in scaler)
    return (np.asarray(X, dtype=np.float64) - mean) / std
    ### END SOLUTION


# --- Stage 2: the network, forward ------------------------------------------------------------------------------------


def attention_pool(h, w, mask):
    """A sequence becomes one vector: a weighted mean of its states, whose weights are learned.

        scores[b, t] = h[b, t] . w          weights = softmax of a row's scores over the positions that count
        pooled[b] = sum over t of weights[b, t] * h[b, t]

    Where the mask is False the weight is exactly 0. A row that is False everywhere has zero weights and is pooled to
    zeros, not to nan. Subtract the largest score that counts before the exponential: scores may be in the thousands.

    h: states, (B, T, H). w: the learned query, (H,). mask: (B, T), True where a position counts.
    Returns (pooled, weights, cache): arrays (B, H) and (B, T), and the cache.

    Example: for h = [[[1.0], [3.0], [9.0]]], w = [0.0] and mask [[True, True, False]] the weights are
             [[0.5, 0.5, 0]], and pooled is [[2]].
    """
    ### BEGIN SOLUTION
    h, w, mask = np.asarray(h, dtype=np.float64), np.asarray(w, dtype=np.float64), np.asarray(mask, dtype=bool)
    scores = np.where(mask, h @ w, -np.inf)
    largest = np.max(scores, axis=1, keepdims=True)
    # Where nothing counts the largest score is -inf, and -inf minus -inf would be nan.
    exps = np.exp(scores - np.where(np.isinf(largest), 0.0, largest))
    total = np.sum(exps, axis=1, keepdims=True)
    weights = exps / np.where(total == 0, 1.0, total)
    pooled = np.sum(weights[:, :, None] * h, axis=1)
    return pooled, weights, (h, w, weights)
    ### END SOLUTION


def head_forward(f, params, state, training, mask=None):
    """The head: one hidden layer with batch normalisation, ReLU and dropout, and a linear output.

        z = f @ W1.T                             (no bias: the normalisation would take it out again)
        u = gamma * (z - m) / sqrt(v + EPS) + beta
        logits = (max(u, 0) * mask) @ W2.T + b2

    In training m and v are mean and variance of this batch (the variance divided by B), and the running statistics
    move: mean <- 0.9 * mean + 0.1 * m, var <- 0.9 * var + 0.1 * v * B / (B - 1). In evaluation m and v are the running
    ones, which stay.

    f: (B, F); in training B is at least 2. params: the dict of the whole network; state: dict mean, var (N,).
    training: True or False. mask: None, or a dropout mask (B, N), ready made, with its factor 1 / (1 - p) inside.
    Returns (logits, cache, state): an array (B, K), the cache, and a NEW dict mean, var.

    Example: with W1 = [[2.0]], gamma, beta and W2 of [1.0], [0.0] and [[5.0]], b2 = [1.0], and state mean [0], var [1],
             the inputs [[1.0], [3.0]] in training give logits [[1], [6]] to about five digits, and the new mean [0.4].
    """
    ### BEGIN SOLUTION
    f = np.asarray(f, dtype=np.float64)
    W1, gamma, beta, W2, b2 = (np.asarray(params[n], dtype=np.float64) for n in ("W1", "gamma", "beta", "W2", "b2"))
    mean, var = np.array(state["mean"], dtype=np.float64), np.array(state["var"], dtype=np.float64)
    z = f @ W1.T
    m, v = mean, var
    if training:
        m, v = np.mean(z, axis=0), np.var(z, axis=0)
        mean = (1.0 - MOMENTUM) * mean + MOMENTUM * m
        var = (1.0 - MOMENTUM) * var + MOMENTUM * v * len(z) / (len(z) - 1)
    inverse_std = 1.0 / np.sqrt(v + EPS)
    z_hat = (z - m) * inverse_std
    u = gamma * z_hat + beta
    factor = 1.0 if mask is None else np.asarray(mask, dtype=np.float64)
    out = np.maximum(u, 0.0) * factor
    # Backward has to know in which mode it was: in evaluation m and v are plain constants.
    cache = (f, W1, gamma, W2, z_hat, inverse_std, u, factor, out, training)
    return out @ W2.T + b2, cache, {"mean": mean, "var": var}
    ### END SOLUTION


def forward(X, tokens, params, state, training, rng=None, p=0.0):
    """The whole network: logits from standardised readings and padded logs.

    Rows of E for the tokens, `lstm_forward`, `attention_pool` over the positions that are not PAD, then the head on the
    pooled vector with the readings BEHIND it, (B, H + D). In training with p > 0 there is one dropout mask, for the
    hidden units of the head: one draw, rng.random((B, N)); a unit is kept, times 1 / (1 - p), where the number is p or
    more. Otherwise nothing is drawn.

    X: (B, D). tokens: (B, T). params, state: as at the top. training, p: the mode, and the share to drop.
    Returns (logits, weights, cache, state): arrays (B, K) and (B, T), attention's weights; the cache; and the head's
    new state.

    Example: with W2 zero the logits are b2 for every record. More padding on the right changes nothing.
    """
    ### BEGIN SOLUTION
    X, tokens = np.asarray(X, dtype=np.float64), np.asarray(tokens)
    E = np.asarray(params["E"], dtype=np.float64)
    # The LSTM reads the padding too, but only after everything that counts; its states there get no weight.
    h, lstm_cache = lstm_forward(E[tokens], params)
    pooled, weights, pool_cache = attention_pool(h, params["w_att"], tokens != PAD)
    mask = None
    if training and p > 0:
        mask = (rng.random((len(X), len(params["W1"]))) >= p) / (1.0 - p)
    logits, head_cache, state = head_forward(np.concatenate([pooled, X], axis=1), params, state, training, mask)
    return logits, weights, (tokens, E.shape, lstm_cache, pool_cache, head_cache), state
    ### END SOLUTION


# --- Stage 3: backward ------------------------------------------------------------------------------------------------


def attention_pool_backward(dpooled, cache):
    """Backward through `attention_pool`. A state counts twice: by what it says, and by how loudly.

    With da[b, t] = dpooled[b] . h[b, t], the gradient at the weights, the one at the scores is

        ds = weights * (da - sum over t of weights * da)                  (the softmax's own gradient, row by row)

    and h[b, t] gets weights[b, t] * dpooled[b] + ds[b, t] * w.

    dpooled: (B, H). cache: what `attention_pool` returned third; it stays as it is.
    Returns (dh, dw), with the shapes of h and w. States that do not count get exactly 0.

    Example: with w = 0 and everything counting, the weights are all 1/T. Where all states of a row are equal, ds is 0,
             and each state gets dpooled / T.
    """
    ### BEGIN SOLUTION
    h, w, weights = cache
    dpooled = np.asarray(dpooled, dtype=np.float64)
    da = np.sum(h * dpooled[:, None, :], axis=2)
    # Weights sum to one: pushing all of them alike changes nothing, so the mean push is taken out.
    ds = weights * (da - np.sum(weights * da, axis=1, keepdims=True))
    dh = weights[:, :, None] * dpooled[:, None, :] + ds[:, :, None] * w
    return dh, np.sum(ds[:, :, None] * h, axis=(0, 1))
    ### END SOLUTION


def head_backward(dlogits, cache):
    """Backward through `head_forward`, after a training pass AND after one in evaluation.

    With g the gradient at z_hat = (z - m) / sqrt(v + EPS), that is gamma times the gradient at u:

        training:    dz = (g - mean(g) - z_hat * mean(g * z_hat)) / sqrt(v + EPS)         means over the batch
        evaluation:  dz = g / sqrt(v + EPS)                              m and v do not depend on this batch

    The ReLU has slope 1 where u > 0, else 0; the mask is the one of the forward pass. Nothing is divided by B here.

    dlogits: (B, K). cache: what `head_forward` returned second; it stays as it is.
    Returns (df, grads): an array (B, F), and a dict with the keys W1, gamma, beta, W2, b2.

    Example: where u is negative for every record, the row of W1's gradient and the entries of gamma's and beta's are 0.
    """
    ### BEGIN SOLUTION
    f, W1, gamma, W2, z_hat, inverse_std, u, factor, out, training = cache
    dlogits = np.asarray(dlogits, dtype=np.float64)
    du = (dlogits @ W2) * factor * (u > 0)
    g = du * gamma
    if training:
        g = g - np.mean(g, axis=0) - z_hat * np.mean(g * z_hat, axis=0)
    dz = g * inverse_std
    grads = {
        "W1": dz.T @ f,
        "gamma": np.sum(du * z_hat, axis=0),
        "beta": np.sum(du, axis=0),
        "W2": dlogits.T @ out,
        "b2": np.sum(dlogits, axis=0),
    }
    return dz @ W1, grads
    ### END SOLUTION


def backward(dlogits, cache):
    """All gradients of the network, in either mode: head, attention pooling, LSTM, embedding.

    The head's input was the pooled vector with the readings behind it, and its gradient comes apart in the same place.
    A row of E collects the gradients of ALL places where its token stands.

    dlogits: (B, K). cache: what `forward` returned third; it stays as it is.
    Returns (grads, dX): a dict with exactly the 11 keys and shapes of params, and the gradient at the readings (B, D).

    Example: the row E[0] has the gradient 0: padding never counts.
    """
    ### BEGIN SOLUTION
    tokens, table_shape, lstm_cache, pool_cache, head_cache = cache
    df, grads = head_backward(dlogits, head_cache)
    hidden = len(pool_cache[1])
    dh, grads["w_att"] = attention_pool_backward(df[:, :hidden], pool_cache)
    dx, lstm_grads = lstm_backward(dh, lstm_cache)
    grads.update(lstm_grads)
    grads["E"] = np.zeros(table_shape)
    # dE[tokens] += dx would keep only one of several contributions to a row; add.at adds them all.
    np.add.at(grads["E"], tokens, dx)
    return grads, df[:, hidden:]
    ### END SOLUTION


def cross_entropy(logits, labels):
    """The mean cross-entropy of softmax(logits), and its gradient (softmax(logits) - one_hot(labels)) / B.

    Be exact for logits of 10,000: subtract the largest of each row, and take log-sum-exp instead of log of softmax.

    logits: (B, K). labels: (B,), whole numbers from 0 to K - 1.
    Returns (loss, dlogits): a number, and an array (B, K).

    Example: cross_entropy([[0.0, 0.0]], [1]) gives (log 2, [[0.5, -0.5]]).
    """
    ### BEGIN SOLUTION
    logits = np.asarray(logits, dtype=np.float64)
    rows = np.arange(len(logits))
    shifted = logits - np.max(logits, axis=1, keepdims=True)
    log_probs = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    dlogits = np.exp(log_probs)
    dlogits[rows, labels] -= 1.0
    return -np.mean(log_probs[rows, labels]), dlogits / len(logits)
    ### END SOLUTION


# --- Stage 4: training ------------------------------------------------------------------------------------------------


def learning_rate(t, lr, warmup, total):
    """The rate of step t: a linear warm-up, then half a cosine down to 0.

        t < warmup:   lr * (t + 1) / (warmup + 1)
        else:         lr * (1 + cos(pi * (t - warmup) / (total - warmup))) / 2

    t: the number of the step, from 0 to total - 1, counted through the whole run, not within an epoch.
    lr: the highest rate. warmup, total: whole numbers of steps, 0 <= warmup < total.
    Returns a number.

    Example: for lr = 1.0, warmup = 3, total = 7 the rates begin 0.25, 0.5, 0.75, 1.0, and step 5 has 0.5.
    """
    ### BEGIN SOLUTION
    if t < warmup:
        # The + 1 on both sides: no step is wasted on a rate of 0, and step number `warmup` has the full rate.
        return lr * (t + 1) / (warmup + 1)
    return lr * (1.0 + np.cos(np.pi * (t - warmup) / (total - warmup))) / 2.0
    ### END SOLUTION


def early_stopping(val_losses, patience):
    """Which epoch was the best so far, and is it time to stop?

    The best epoch is the one with the lowest validation loss, the first of several. It is time to stop when the last
    epoch of the list lies `patience` epochs or more behind the best one.

    val_losses: one number for each epoch so far, at least one. patience: a whole number from 1 on.
    Returns (best_epoch, stop): a whole number from 0, and True or False.

    Example: early_stopping([0.9, 0.5, 0.6, 0.5], 2) gives (1, True), and with patience 3 (1, False).
    """
    ### BEGIN SOLUTION
    best = int(np.argmin(val_losses))
    return best, len(val_losses) - 1 - best >= patience
    ### END SOLUTION


def train_step(params, state, optimizer, X, tokens, labels, lr, rng=None, p=0.0, weight_decay=0.01):
    """One step on one batch: forward in training, loss, backward, AdamW.

    params, state: as at the top. optimizer: AdamW's memory, {} before the first step.
    X, tokens, labels: the batch, (B, D), (B, T), (B,). lr, weight_decay: numbers. rng, p: for `forward`.
    Returns (params, state, optimizer, loss): new dicts, and the loss of this batch BEFORE the step, a number.

    Example: with all of W2 and b2 zero and K = 4 the first loss is log 4.
    """
    ### BEGIN SOLUTION
    params = {name: np.asarray(value, dtype=np.float64) for name, value in params.items()}
    logits, _, cache, state = forward(X, tokens, params, state, True, rng, p)
    loss, dlogits = cross_entropy(logits, labels)
    grads, _ = backward(dlogits, cache)
    params, optimizer = adamw_step(params, grads, optimizer, lr, weight_decay)
    return params, state, optimizer, loss
    ### END SOLUTION


def train(
    X, tokens, y, X_val, tokens_val, y_val, n_classes, rng, epochs=20, batch_size=64, lr=0.005, warmup=50, p=0.1,
    weight_decay=0.01, patience=5, sizes=(8, 24, 48),
):  # fmt: skip
    """A whole training run: shuffled batches, warm-up and cosine, early stopping on the validation loss.

    First init_params(sizes, D, n_classes, rng). Then each epoch:
      - order = rng.permutation(N); its consecutive pieces of batch_size are the batches. The last may be shorter, and
        is used too. One `train_step` each, with the rate of `learning_rate` for t = 0, 1, ..., the steps of the WHOLE
        run, whose planned number is total = epochs * (batches an epoch). One memory of AdamW serves the whole run;
      - train_loss of this epoch: the mean loss of its samples, that is of its batches, each weighted by its size;
      - val_loss of this epoch: `cross_entropy` of the validation set in EVALUATION; it changes nothing;
      - `early_stopping` of all val_losses so far. If this epoch is the best, remember its params and state; if it is
        time to stop, stop.

    X, tokens, y: training samples, (N, D) standardised, (N, T), (N,). X_val, tokens_val, y_val: those to validate with.
    n_classes: K. other: the length of the run, and sizes = (d, H, N). No batch has a single sample; warmup < total.
    Returns (params, state, history): those of the best epoch, and a dict with "train_loss" and "val_loss", a number for
    each epoch that was run, and "best_epoch", counted from 0.

    Example: with epochs=1 and warmup=0 both lists have one number and best_epoch is 0.
    """
    ### BEGIN SOLUTION
    X, tokens, y = np.asarray(X, dtype=np.float64), np.asarray(tokens), np.asarray(y)
    params, state = init_params(sizes, X.shape[1], n_classes, rng)
    best_params, best_state = params, state
    optimizer, t, n = {}, 0, len(X)
    total = epochs * -(-n // batch_size)
    history = {"train_loss": [], "val_loss": [], "best_epoch": 0}
    for epoch in range(epochs):
        order = rng.permutation(n)
        summed = 0.0
        for start in range(0, n, batch_size):
            rows = order[start : start + batch_size]
            rate = learning_rate(t, lr, warmup, total)
            params, state, optimizer, loss = train_step(
                params, state, optimizer, X[rows], tokens[rows], y[rows], rate, rng, p, weight_decay
            )
            summed += loss * len(rows)
            t += 1
        history["train_loss"].append(float(summed / n))
        val_logits = forward(X_val, tokens_val, params, state, False)[0]
        history["val_loss"].append(float(cross_entropy(val_logits, y_val)[0]))
        history["best_epoch"], stop = early_stopping(history["val_loss"], patience)
        if history["best_epoch"] == epoch:
            # Every step makes new dicts and arrays, so remembering them is enough: nothing will change them.
            best_params, best_state = params, state
        if stop:
            break
    return best_params, best_state, history
    ### END SOLUTION


# --- Stage 5: evaluation, calibration, attribution --------------------------------------------------------------------


def evaluate(logits, labels, train_labels):
    """How good is it, and compared with what?

    accuracy:  the share of records whose largest logit is that of their label (of equal logits, the first counts);
    majority:  the share that would be right if the most frequent TRAINING label (the lowest of several) were always
               the answer. An accuracy below it is worth nothing, however large it looks;
    confusion: how many records of class i (row) were taken for class j (column).

    logits: (B, K). labels: (B,). train_labels: (N,). Labels are whole numbers from 0 to K - 1.
    Returns a dict with "accuracy" and "majority", numbers, and "confusion", an array (K, K).

    Example: for logits [[2, 1], [0, 3], [5, 4]], labels [0, 1, 1] and train_labels [0, 0, 1] the accuracy is 2/3, the
             majority 1/3, and the confusion [[1, 0], [1, 1]].
    """
    ### BEGIN SOLUTION
    logits, labels = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    said = np.argmax(logits, axis=1)
    frequent = np.argmax(np.bincount(train_labels))
    confusion = np.zeros((logits.shape[1], logits.shape[1]))
    np.add.at(confusion, (labels, said), 1)
    return {"accuracy": np.mean(said == labels), "majority": np.mean(labels == frequent), "confusion": confusion}
    ### END SOLUTION


def reliability(probs, labels, n_bins=10):
    """Does 0.9 mean nine times out of ten? Predictions sorted into bins by how sure they are.

    The confidence of a record is its largest probability; it is right if that is the probability of its label. Bin k
    (k = 0, ..., n_bins - 1) holds confidences from k / n_bins on to below (k + 1) / n_bins. The last bin also holds
    the confidence 1.

    probs: (N, K), rows that sum to one. labels: (N,). n_bins: a whole number.
    Returns (counts, confidence, accuracy): three arrays (n_bins,): how many records fell into the bin, their mean
    confidence, and the share of them that is right; both 0 where the bin is empty.

    Example: reliability([[1.0, 0.0], [0.4, 0.6]], [0, 0], 2) gives ([0, 2], [0, 0.8], [0, 0.5]).
    """
    ### BEGIN SOLUTION
    probs, labels = np.asarray(probs, dtype=np.float64), np.asarray(labels)
    confidence = np.max(probs, axis=1)
    right = np.argmax(probs, axis=1) == labels
    # A confidence of exactly 1 would fall into a bin of its own behind the last one.
    place = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    counts, mean_confidence, accuracy = np.zeros(n_bins), np.zeros(n_bins), np.zeros(n_bins)
    for k in range(n_bins):
        inside = place == k
        if np.any(inside):
            counts[k] = np.sum(inside)
            mean_confidence[k], accuracy[k] = np.mean(confidence[inside]), np.mean(right[inside])
    return counts, mean_confidence, accuracy
    ### END SOLUTION


def calibration_error(probs, labels, n_bins=10):
    """The expected calibration error (ECE): the mean gap between confidence and accuracy.

        ECE = sum over the bins of  (count / N) * |accuracy - confidence|

    It says nothing alone: answering 1/K everywhere can be perfectly calibrated. And where 97 of 100 are right, even
    someone who always claims to be certain has an ECE of only 0.03; the cross-entropy sees such a one at once.

    probs, labels, n_bins: as for `reliability`.
    Returns a number from 0 to 1.

    Example: for the example above it is |0.5 - 0.8| = 0.3.
    """
    ### BEGIN SOLUTION
    counts, confidence, accuracy = reliability(probs, labels, n_bins)
    return np.sum(counts * np.abs(accuracy - confidence)) / np.sum(counts)
    ### END SOLUTION


def fit_temperature(logits, labels):
    """Temperature scaling: the one number T for which softmax(logits / T) has the lowest mean cross-entropy.

    T above 1 makes a network more modest, below 1 bolder; which class it names stays the same. Fit it on validation
    data: on what it has learned by heart a network is right too often. In s = 1 / T the mean cross-entropy is convex,
    and its slope, which only rises with s, is

        mean over the records of  ( sum over k of softmax(s * logits)_k * logits_k  -  logits_label )

    So the slope is 0 at one s: halve an interval until you have it. T is asked for to six digits, between 0.05 and 20:
    if the lowest lies outside, it is the nearer of the two. Be exact for logits of thousands.

    logits: (N, K). labels: (N,).
    Returns T, a number.

    Example: for four records with the logits [4, 0], three of class 0 and one of class 1, T = 4 / log 3 = 3.641: then
             the first class has the probability 3/4.
    """
    ### BEGIN SOLUTION
    logits = np.asarray(logits, dtype=np.float64)
    # Measured from the label's own logit, which changes no probability, the slope is the mean of sum p * z alone.
    z = logits - logits[np.arange(len(logits)), labels][:, None]
    z_max = np.max(z, axis=1, keepdims=True)

    def slope(s):
        p = np.exp(s * (z - z_max))
        return np.mean(np.sum(p * z, axis=1) / np.sum(p, axis=1))

    low, high = 1.0 / 20.0, 1.0 / 0.05
    if slope(low) >= 0:
        return 1.0 / low
    if slope(high) <= 0:
        return 1.0 / high
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 2.0 / (low + high)
    ### END SOLUTION


def integrated_gradients(X, tokens, classes, params, state, steps=32):
    """Why this class? What each reading contributed to the LOGIT of a class (chapter 331), the log held fixed.

    The baseline is a machine with average readings: zeros, since the readings are standardised. With the gradient of
    the logit of the record's class at the readings, in evaluation:

        attribution = X * mean over k = 0, ..., steps - 1 of the gradient at (k + 1/2) / steps * X

    With enough steps a record's attributions add up to its logit minus the logit at the baseline.

    X, tokens: records, (B, D) and (B, T). classes: for each record the class to explain, (B,).
    params, state: the trained network. steps: a whole number.
    Returns an array (B, D), signs and all.

    Example: with W2 zero all attributions are 0.
    """
    ### BEGIN SOLUTION
    X = np.asarray(X, dtype=np.float64)
    total = np.zeros_like(X)
    for k in range(steps):
        logits, _, cache, _ = forward((k + 0.5) / steps * X, tokens, params, state, False)
        # The gradient of one logit of each record: a 1 in its place. In evaluation the records do not mix.
        dlogits = np.zeros_like(logits)
        dlogits[np.arange(len(X)), classes] = 1.0
        total += backward(dlogits, cache)[1]
    return X * total / steps
    ### END SOLUTION


# --- Stage 6: the system ----------------------------------------------------------------------------------------------


def fit_system(X, logs, y, X_val, logs_val, y_val, n_classes, rng, **options):
    """From raw records to a system that can be used: everything that is learned, learned in the right place.

    The scaler is fitted on the TRAINING readings and applied to both sets. Logs are padded to LENGTH. `train` gets both
    sets, n_classes, rng, and the options. The temperature is fitted on the VALIDATION logits, in evaluation.

    X, logs, y: raw training records: readings (N, D) in their units, N lists, labels (N,). X_val, logs_val, y_val: raw
    validation records. options: for `train`, handed on as they are.
    Returns a dict with "scaler" (a pair), "params", "state", "temperature" (a number), and "history".

    Example: fit_system(..., epochs=1, warmup=0)["history"]["best_epoch"] is 0.

    On 2,500 records of 500 machines, with 1,000 records to validate, and the defaults of `train`, the system must be
    right on at least 95 of 100 fresh records, within 30 seconds of CPU time, and its probabilities must be calibrated:
    an ECE (10 bins) of at most 0.025 and a cross-entropy of at most 0.15 nats, on 2,000 fresh records. The check
    shuffles the numbers of the events, the columns, units and directions of the readings and the numbers of the
    classes: what to learn only the data tell. You may choose other defaults.
    """
    ### BEGIN SOLUTION
    scaler = fit_scaler(X)
    X, X_val = apply_scaler(X, scaler), apply_scaler(X_val, scaler)
    tokens, tokens_val = pad_logs(logs, LENGTH), pad_logs(logs_val, LENGTH)
    params, state, history = train(X, tokens, y, X_val, tokens_val, y_val, n_classes, rng, **options)
    # What the network learned from would tell nothing about how sure it may be.
    temperature = fit_temperature(forward(X_val, tokens_val, params, state, False)[0], y_val)
    return {"scaler": scaler, "params": params, "state": state, "temperature": temperature, "history": history}
    ### END SOLUTION


def predict(system, X, logs):
    """Probabilities for raw records: the system's own scaler, padding, the network in evaluation, its temperature.

    system: what `fit_system` returned. X, logs: raw records, readings (M, D) in their units and M lists, also M = 1.
    Returns softmax(logits / temperature), an array (M, K).

    Example: for a record, the answer does not depend on which others are asked about at the same time.
    """
    ### BEGIN SOLUTION
    X, tokens = apply_scaler(X, system["scaler"]), pad_logs(logs, LENGTH)
    scaled = forward(X, tokens, system["params"], system["state"], False)[0] / system["temperature"]
    exps = np.exp(scaled - np.max(scaled, axis=1, keepdims=True))
    return exps / np.sum(exps, axis=1, keepdims=True)
    ### END SOLUTION


def main():
    """Given: the whole system in one run: data, split, training, and the test set, looked at once."""
    rng = np.random.default_rng(340)
    X, logs, y, machines = make_records(1100, rng)
    train_set, val, test = split_machines(machines, 200, 400, rng)

    def of(rows):
        return X[rows], [logs[row] for row in rows], y[rows]

    system = fit_system(*of(train_set), *of(val), 4, rng)
    history = system["history"]
    for epoch, losses in enumerate(zip(history["train_loss"], history["val_loss"], strict=True)):
        print(f"epoch {epoch:2}: train {losses[0]:.4f}  val {losses[1]:.4f}")
    print(f"best epoch: {history['best_epoch']}, temperature: {system['temperature']:.3f}")
    X_test, logs_test, y_test = of(test)
    probs = predict(system, X_test, logs_test)
    result = evaluate(np.log(probs), y_test, y[train_set])
    print(f"{len(test)} test records: accuracy {result['accuracy']:.3f}, most frequent class {result['majority']:.3f}")
    loss = -np.mean(np.log(probs[np.arange(len(test)), y_test]))
    print(f"calibration error: {calibration_error(probs, y_test):.4f}, cross-entropy: {loss:.4f} nats")
    print(result["confusion"].astype(int))
    X_std, tokens = apply_scaler(X_test[:3], system["scaler"]), pad_logs(logs_test[:3], LENGTH)
    said = np.argmax(probs[:3], axis=1)
    shares = integrated_gradients(X_std, tokens, said, system["params"], system["state"])
    for row in range(3):
        print(f"log {logs_test[row]}: class {said[row]}, because of the readings {np.round(shares[row], 2)}")


if __name__ == "__main__":
    main()
