"""Chapter 324: Self-Supervised Learning

Labels are dear, and data are not. Self-supervised learning makes the task out of the data: which two views show the
same thing, which picture belongs to which caption, which word was hidden, which word comes next. You write the losses
of these tasks with their gradients, and the masking that makes a hidden-word task.

Conventions, here and in every chapter:
  - embeddings are (n, d), a row each; every similarity here is a cosine, so each row is divided by its length first,
    and gradients are those at the rows as they came in, before that;
  - a loss is a mean, and a gradient is the gradient of that mean;
  - tokens are whole numbers (B, T), and logits (B, T, V);
  - functions accept any arrays or lists of numbers, work in float64, and never modify what they are given.

Losses stay finite at any temperature: use log-sum-exp, with the largest logit subtracted.

Run `dlgrade check ch324` as often as you like; `dlgrade hint ch324 nt_xent` helps you on.
"""

import numpy as np


def log_softmax(logits):
    """Given: logarithms of the softmax over the last axis, finite for logits of any size."""
    shifted = logits - np.max(logits, axis=-1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))


def normalize(z):
    """Divide every row by its length.

    z: (n, d), no row of zeros. A row may be very short, say 1e-10: add no small number to its length.
    Returns an array (n, d) with rows of length 1.

    Example: normalize([[3.0, 4.0]]) gives [[0.6, 0.8]].
    """
    ### BEGIN SOLUTION
    z = np.asarray(z, dtype=np.float64)
    return z / np.sqrt(np.sum(z**2, axis=1, keepdims=True))
    ### END SOLUTION


def normalize_backward(dout, z):
    """Backward through `normalize`.

        dz = (dout - u (u . dout)) / |z|          u = z / |z|, row by row

    A step along z changes its length only, which is divided out: that part of dout is taken off. This makes the
    difference between a gradient of the cosine and one of the plain product.

    dout: gradient at the unit rows, (n, d).
    z:    as for `normalize`, (n, d).
    Returns an array (n, d).

    Example: normalize_backward([[1.0, 0.0]], [[0.0, 2.0]]) gives [[0.5, 0.0]], and
    normalize_backward([[0.0, 1.0]], [[0.0, 2.0]]) gives [[0.0, 0.0]].
    """
    ### BEGIN SOLUTION
    dout, z = np.asarray(dout, dtype=np.float64), np.asarray(z, dtype=np.float64)
    length = np.sqrt(np.sum(z**2, axis=1, keepdims=True))
    u = z / length
    return (dout - u * np.sum(u * dout, axis=1, keepdims=True)) / length
    ### END SOLUTION


def info_nce(queries, keys, temperature):
    """InfoNCE: which key belongs to this query? Key i belongs to query i, and the other keys do not.

        logits[i, j] = cos(query i, key j) / temperature
        loss = the mean over i of  -log softmax(logits[i])[i]

    queries, keys: (n, d).
    temperature:   a positive number, perhaps 0.001.
    Returns (loss, dqueries, dkeys): one number, and the gradients (n, d) of both.

    Example: for queries = keys = [[1.0, 0.0], [0.0, 1.0]] and temperature 1 the loss is log(1 + e^-1), about 0.3133.
    """
    ### BEGIN SOLUTION
    q, k = normalize(queries), normalize(keys)
    n = len(q)
    log_p = log_softmax(q @ k.T / temperature)
    loss = -np.mean(np.diag(log_p))
    # The gradient of softmax and logarithm together: probabilities minus one-hot targets.
    dlogits = (np.exp(log_p) - np.eye(n)) / n
    dq = dlogits @ k / temperature
    dk = dlogits.T @ q / temperature
    return loss, normalize_backward(dq, queries), normalize_backward(dk, keys)
    ### END SOLUTION


def clip_loss(images, texts, temperature):
    """The symmetric loss of CLIP: half the InfoNCE of images among texts, half that of texts among images.

    images, texts: (n, d); row i of one belongs to row i of the other.
    temperature:   a positive number.
    Returns (loss, dimages, dtexts): one number, and the gradients (n, d) of both.

    Example: for images = texts = [[1.0, 0.0], [0.0, 1.0]] and temperature 1 the loss is about 0.3133.
    """
    ### BEGIN SOLUTION
    forth, dimages_forth, dtexts_forth = info_nce(images, texts, temperature)
    # With the roles exchanged: what comes back is exchanged as well.
    back, dtexts_back, dimages_back = info_nce(texts, images, temperature)
    return (forth + back) / 2, (dimages_forth + dimages_back) / 2, (dtexts_forth + dtexts_back) / 2
    ### END SOLUTION


def nt_xent(z, temperature):
    """NT-Xent, the loss of SimCLR: which of all the other rows is the other view of the same thing?

    Rows i and i + N are two views of one thing, for i = 0, ..., N - 1. So the partner of row i is row (i + N) mod 2N.
    Every row is compared with the 2N - 1 OTHER rows, never with itself:

        loss = the mean over all 2N rows of  -log( e^s[i, partner] / the sum over j != i of e^s[i, j] )
        s[i, j] = cos(z_i, z_j) / temperature

    z:           (2N, d), an even number of rows; raise ValueError for an odd one.
    temperature: a positive number, perhaps 0.001.
    Returns (loss, dz): one number, and its gradient (2N, d). A row of z acts on the loss as the row that asks, and as a
    row that others are compared with.

    Example: nt_xent([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], 1.0) has the loss log(1 + 2 e^-1), about 0.5514;
    with a single pair the loss is 0.0.
    """
    ### BEGIN SOLUTION
    u = normalize(z)
    n_rows = len(u)
    if n_rows % 2 == 1:
        raise ValueError("every row needs a partner: the number of rows must be even")
    rows = np.arange(n_rows)
    partner = (rows + n_rows // 2) % n_rows
    s = u @ u.T / temperature
    # A row is no candidate for itself: e^-inf is 0, so it drops out of the sum.
    s[rows, rows] = -np.inf
    log_p = log_softmax(s)
    loss = -np.mean(log_p[rows, partner])
    ds = np.exp(log_p)
    ds[rows, partner] -= 1
    ds /= n_rows
    # s[i, j] holds u_i and u_j: each row gets a gradient from its row of s and from its column.
    du = (ds + ds.T) @ u / temperature
    return loss, normalize_backward(du, z)
    ### END SOLUTION


def triplet_loss(anchor, positive, negative, margin):
    """Triplet loss: the anchor should be more like its positive than like its negative, by a margin.

        loss = the mean over the batch of  max(0, margin + cos(anchor, negative) - cos(anchor, positive))

    All three are learned, so all three have a gradient. A triplet at or below 0 has none.

    anchor, positive, negative: (B, d).
    margin:                     a number, not negative.
    Returns (loss, danchor, dpositive, dnegative): one number, and three gradients (B, d).

    Example: triplet_loss([[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 0.0]], 0.2) has the loss 1.2; with positive and negative
    exchanged it is 0.0 and all gradients are zero.
    """
    ### BEGIN SOLUTION
    a, p, n = normalize(anchor), normalize(positive), normalize(negative)
    inside = margin + np.sum(a * n, axis=1) - np.sum(a * p, axis=1)
    loss = np.mean(np.maximum(inside, 0))
    # Each active triplet has a share of 1 / B in the mean.
    share = (inside > 0)[:, None] / len(a)
    danchor = normalize_backward(share * (n - p), anchor)
    dpositive = normalize_backward(-share * a, positive)
    dnegative = normalize_backward(share * a, negative)
    return loss, danchor, dpositive, dnegative
    ### END SOLUTION


def mask_tokens(tokens, vocab_size, mask_id, rng):
    """Hide some tokens, for a model to find (the task of BERT).

    Each position is chosen with probability 0.15, by itself. What is put at a chosen position:

        the token mask_id           with probability 0.8
        a random token              with probability 0.1
        the token as it is          with probability 0.1

    so that a model cannot rely on seeing the mask. The model is asked at the chosen positions only, all three kinds.

    tokens:     (B, T), whole numbers from 0 to vocab_size - 1.
    vocab_size: V, the random token is one of 0, ..., V - 1.
    mask_id:    the token that hides, one of the vocabulary or not. A token that comes in may be the mask already, and a
                random token may be it, too: both are treated like any other.
    rng:        three draws for all positions at once, in this order:
                rng.random((B, T)), chosen where below 0.15;
                rng.random((B, T)), mask where below 0.8, random token where from 0.8 to below 0.9, as it is from 0.9;
                rng.integers(vocab_size, size=(B, T)), the random tokens.
    Returns (inputs, targets), two arrays (B, T) of whole numbers: what the model sees, and what it is asked, the token
    itself at chosen positions and -100 at all others.

    Example: with an rng whose first draw is [[0.1, 0.5]] and second [[0.3, 0.3]], tokens [[7, 8]] and mask_id 99,
    inputs are [[99, 8]] and targets [[7, -100]].
    """
    ### BEGIN SOLUTION
    tokens = np.asarray(tokens, dtype=np.int64)
    chosen = rng.random(tokens.shape) < 0.15
    kind = rng.random(tokens.shape)
    random_tokens = rng.integers(vocab_size, size=tokens.shape)
    hidden = np.where(kind < 0.8, mask_id, np.where(kind < 0.9, random_tokens, tokens))
    return np.where(chosen, hidden, tokens), np.where(chosen, tokens, -100)
    ### END SOLUTION


def masked_lm_loss(logits, targets):
    """Cross-entropy at the positions that were asked: the mean over those whose target is not -100.

    logits:  (B, T, V).
    targets: (B, T), a token or -100, which does not count. A sequence may have none that counts; raise ValueError if
             none of any sequence does.
    Returns (loss, dlogits): one number, and its gradient (B, T, V), zero where nothing was asked.

    Example: masked_lm_loss([[[0.0, 0.0], [5.0, 1.0]]], [[1, -100]]) has the loss log 2, about 0.6931, and the gradient
    [[[0.5, -0.5], [0.0, 0.0]]].
    """
    ### BEGIN SOLUTION
    logits, targets = np.asarray(logits, dtype=np.float64), np.asarray(targets)
    batch, time = np.nonzero(targets != -100)
    if len(batch) == 0:
        raise ValueError("no position was asked")
    # Only the positions that count are looked at, as one list of M rows.
    log_p = log_softmax(logits[batch, time])
    count = np.arange(len(batch))
    answers = targets[batch, time]
    loss = -np.mean(log_p[count, answers])
    drows = np.exp(log_p)
    drows[count, answers] -= 1
    dlogits = np.zeros_like(logits)
    dlogits[batch, time] = drows / len(batch)
    return loss, dlogits
    ### END SOLUTION


def causal_lm_loss(logits, tokens):
    """Cross-entropy of the next token: the logits at position t are asked for token t + 1.

    The last position has no next token, and is not asked. The loss is the mean over the B (T - 1) others.

    logits: (B, T, V), T at least 2.
    tokens: (B, T).
    Returns (loss, dlogits): one number, and its gradient (B, T, V), zero at the last position.

    Example: causal_lm_loss([[[0.0, 0.0], [5.0, 1.0]]], [[0, 1]]) has the loss log 2 and the gradient
    [[[0.5, -0.5], [0.0, 0.0]]].
    """
    ### BEGIN SOLUTION
    tokens = np.asarray(tokens)
    # The same loss as before, with the tokens moved one to the left and nothing asked at the end.
    targets = np.full(tokens.shape, -100)
    targets[:, :-1] = tokens[:, 1:]
    return masked_lm_loss(logits, targets)
    ### END SOLUTION
