"""Chapter 322: Transformers

One block, repeated: attention, so that positions can talk to each other, and a small network, so that each can think
about what it heard; around both a residual path that carries everything past them, and a normalisation in front. You
write the block and its whole backward pass, the masks it needs, the count of what it learns, and the recipe that trains
it: AdamW with a warm-up.

    y   = x + MultiHead(LN1(x))          the pre-LN block: the normalisation stands inside the branch,
    out = y + FFN(LN2(y))                and the path from x to out is never interrupted

Conventions, here and in every chapter:
  - sequences are (B, T, d), batch first; a boolean mask is True where a query MAY look at a key;
  - weights are (out, in), used as x @ W.T; gradients are a dict with the keys of the parameters;
  - parameters of a block: gamma1, beta1 (d,), W_q, W_k, W_v, W_o (d, d) without biases, gamma2, beta2 (d,),
    W1 (d_ff, d), b1 (d_ff,), W2 (d, d_ff), b2 (d,);
  - functions accept any arrays of numbers, work in float64, and never modify what they are given.

Attention is chapter 321's, and given here, as are the exact GELU and one step of AdamW.

Run `dlgrade check ch322` as often as you like; `dlgrade hint ch322 block` helps you on.
"""

import math

import numpy as np

EPS = 1e-5


def gelu(z):
    """Given: z times the normal distribution function of z, for every entry."""
    z = np.asarray(z, dtype=np.float64)
    return 0.5 * z * (1.0 + np.vectorize(math.erf, otypes=[float])(z / math.sqrt(2.0)))


def gelu_slope(z):
    """Given: the derivative of `gelu` at every entry of z."""
    z = np.asarray(z, dtype=np.float64)
    cdf = 0.5 * (1.0 + np.vectorize(math.erf, otypes=[float])(z / math.sqrt(2.0)))
    return cdf + z * np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)


def multi_head(x, params, n_heads, mask=None):
    """Given: multi-head self-attention of x (B, T, d) with W_q, W_k, W_v, W_o. Returns (out, cache).

    The mask is None, or boolean and of a shape that broadcasts to (B, T, T): (T, T), (B, 1, T) or (B, T, T).
    """
    x = np.asarray(x, dtype=np.float64)
    W = {name: np.asarray(params[name], dtype=np.float64) for name in ("W_q", "W_k", "W_v", "W_o")}
    q, k, v = (_split(x @ W[name].T, n_heads) for name in ("W_q", "W_k", "W_v"))
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    if mask is not None:
        mask = np.asarray(mask, dtype=bool)
        scores = np.where(mask[:, None] if mask.ndim == 3 else mask, scores, -np.inf)
    peak = np.max(scores, axis=-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isfinite(peak), peak, 0.0))
    total = np.sum(weights, axis=-1, keepdims=True)
    weights = weights / np.where(total == 0.0, 1.0, total)
    merged = _merge(weights @ v)
    return merged @ W["W_o"].T, (x, W, q, k, v, weights, merged)


def multi_head_backward(dout, cache):
    """Given: (dx, grads) of `multi_head` for dout (B, T, d)."""
    x, W, q, k, v, weights, merged = cache
    dout = np.asarray(dout, dtype=np.float64)
    dheads = _split(dout @ W["W_o"], q.shape[1])
    dweights = dheads @ np.swapaxes(v, -1, -2)
    dscores = weights * (dweights - np.sum(dweights * weights, axis=-1, keepdims=True)) / np.sqrt(q.shape[-1])
    parts = {
        "W_q": dscores @ k,
        "W_k": np.swapaxes(dscores, -1, -2) @ q,
        "W_v": np.swapaxes(weights, -1, -2) @ dheads,
    }
    grads = {"W_o": np.einsum("bto,bti->oi", dout, merged)}
    dx = np.zeros_like(x)
    for name, part in parts.items():
        grads[name] = np.einsum("bto,bti->oi", _merge(part), x)
        dx += _merge(part) @ W[name]
    return dx, grads


def _split(x, n_heads):
    batch, length, width = x.shape
    return x.reshape(batch, length, n_heads, width // n_heads).transpose(0, 2, 1, 3)


def _merge(x):
    batch, heads, length, width = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, length, heads * width)


def adamw_step(params, grads, state, lr, weight_decay=0.01):
    """Given: one step of AdamW, chapter 312's. The state is {} before the first step. Returns (params, state)."""
    t = state.get("t", 0) + 1
    new, m, v = {}, {}, {}
    for name, w in params.items():
        g = np.asarray(grads[name], dtype=np.float64)
        m[name] = 0.9 * state.get("m", {}).get(name, 0.0) + 0.1 * g
        v[name] = 0.999 * state.get("v", {}).get(name, 0.0) + 0.001 * g**2
        step = (m[name] / (1 - 0.9**t)) / (np.sqrt(v[name] / (1 - 0.999**t)) + 1e-8)
        new[name] = np.asarray(w, dtype=np.float64) * (1 - lr * weight_decay) - lr * step
    return new, {"t": t, "m": m, "v": v}


def layer_norm(x, gamma, beta):
    """Layer normalisation: every position gets mean 0 and variance 1 over its own features, then gamma and beta.

        x_hat = (x - mean) / sqrt(var + 1e-5)          out = gamma * x_hat + beta

    Mean and variance are taken over the last axis, the variance as the plain mean of squared deviations; EPS = 1e-5
    stands inside the root.

    x:           (..., d), for example (B, T, d).
    gamma, beta: (d,).
    Returns (out, cache): an array of the shape of x, and whatever your `layer_norm_backward` wants to find again.

    Example: layer_norm([[1.0, 3.0]], [1.0, 2.0], [0.0, 10.0]) gives about [[-1.0, 12.0]].
    """
    ### BEGIN SOLUTION
    x = np.asarray(x, dtype=np.float64)
    gamma, beta = np.asarray(gamma, dtype=np.float64), np.asarray(beta, dtype=np.float64)
    centred = x - np.mean(x, axis=-1, keepdims=True)
    # np.var divides by d, not by d - 1: the variance that normalises is the biased one.
    inverse_std = 1.0 / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + EPS)
    x_hat = centred * inverse_std
    return gamma * x_hat + beta, (x_hat, inverse_std, gamma)
    ### END SOLUTION


def layer_norm_backward(dout, cache):
    """Backward through `layer_norm`.

    Mean and variance depend on x too. With g = dout * gamma, and means over the last axis,

        dx = (g - mean(g) - x_hat * mean(g * x_hat)) / sqrt(var + 1e-5)
        dgamma = sum of dout * x_hat          dbeta = sum of dout          over all positions

    dout:  gradient at out, (..., d).
    cache: what `layer_norm` returned second.
    Returns (dx, dgamma, dbeta), with shapes (..., d), (d,) and (d,).

    Example: for any dout each row of dx sums to 0, because adding a constant to a row of x changes nothing.
    """
    ### BEGIN SOLUTION
    x_hat, inverse_std, gamma = cache
    dout = np.asarray(dout, dtype=np.float64)
    positions = tuple(range(dout.ndim - 1))
    g = dout * gamma
    # Two directions are lost in the forward pass: shifting a row and stretching it. What points that way is removed.
    shift = np.mean(g, axis=-1, keepdims=True)
    stretch = x_hat * np.mean(g * x_hat, axis=-1, keepdims=True)
    dx = (g - shift - stretch) * inverse_std
    return dx, np.sum(dout * x_hat, axis=positions), np.sum(dout, axis=positions)
    ### END SOLUTION


def feed_forward(x, params):
    """The block's small network, at every position by itself:   out = gelu(x @ W1.T + b1) @ W2.T + b2

    x:      (B, T, d).
    params: dict with W1 (d_ff, d), b1 (d_ff,), W2 (d, d_ff), b2 (d,), and perhaps others, which are left alone.
    Returns (out, cache): an array (B, T, d), and whatever your `feed_forward_backward` wants to find again.

    Example: with W1, b1 and W2 zero, out is b2 at every position.
    """
    ### BEGIN SOLUTION
    x = np.asarray(x, dtype=np.float64)
    W1, b1, W2, b2 = (np.asarray(params[name], dtype=np.float64) for name in ("W1", "b1", "W2", "b2"))
    z = x @ W1.T + b1
    hidden = gelu(z)
    return hidden @ W2.T + b2, (x, z, hidden, W1, W2)
    ### END SOLUTION


def feed_forward_backward(dout, cache):
    """Backward through `feed_forward`.

    The same weights serve every position of every sequence, so their gradients sum over both.

    dout:  gradient at out, (B, T, d).
    cache: what `feed_forward` returned second.
    Returns (dx, grads): an array (B, T, d), and a dict with the keys W1, b1, W2, b2.

    Example: grads["b2"] is the sum of dout over batch and positions.
    """
    ### BEGIN SOLUTION
    x, z, hidden, W1, W2 = cache
    dout = np.asarray(dout, dtype=np.float64)
    # The slope of the GELU is taken at z, at what went into it.
    dz = (dout @ W2) * gelu_slope(z)
    grads = {
        "W2": np.einsum("bto,bti->oi", dout, hidden),
        "b2": np.sum(dout, axis=(0, 1)),
        "W1": np.einsum("bto,bti->oi", dz, x),
        "b1": np.sum(dz, axis=(0, 1)),
    }
    return dz @ W1, grads
    ### END SOLUTION


def block(x, params, n_heads, mask=None):
    """One pre-LN Transformer block:   y = x + multi_head(LN1(x))          out = y + feed_forward(LN2(y))

    LN1 uses gamma1 and beta1, LN2 gamma2 and beta2.

    x:       (B, T, d).
    params:  dict with all parameters listed at the top.
    n_heads: the number of heads.
    mask:    as for `multi_head`.
    Returns (out, cache): an array (B, T, d), and whatever your `block_backward` wants to find again.

    Example: with W_o, W2 and b2 all zero both branches are silent, and out equals x exactly.
    """
    ### BEGIN SOLUTION
    x = np.asarray(x, dtype=np.float64)
    normed, cache1 = layer_norm(x, params["gamma1"], params["beta1"])
    attended, attention_cache = multi_head(normed, params, n_heads, mask)
    # x itself is added, not what was normalised: the residual path must stay untouched.
    y = x + attended
    normed, cache2 = layer_norm(y, params["gamma2"], params["beta2"])
    thought, feed_forward_cache = feed_forward(normed, params)
    return y + thought, (cache1, attention_cache, cache2, feed_forward_cache)
    ### END SOLUTION


def block_backward(dout, cache):
    """Backward through `block`.

    Each sum x + branch(x) sends the gradient both ways: unchanged past the branch, and through it. Both arrive at x and
    add up.

    dout:  gradient at out, (B, T, d).
    cache: what `block` returned second.
    Returns (dx, grads): an array (B, T, d), and a dict with all twelve keys of params.

    Example: with W_o, W2 and b2 zero and dout of ones, dx is all ones.
    """
    ### BEGIN SOLUTION
    cache1, attention_cache, cache2, feed_forward_cache = cache
    dout = np.asarray(dout, dtype=np.float64)
    grads = {}
    dnormed, part = feed_forward_backward(dout, feed_forward_cache)
    grads.update(part)
    through, grads["gamma2"], grads["beta2"] = layer_norm_backward(dnormed, cache2)
    dy = dout + through
    dnormed, part = multi_head_backward(dy, attention_cache)
    grads.update(part)
    through, grads["gamma1"], grads["beta1"] = layer_norm_backward(dnormed, cache1)
    return dy + through, grads
    ### END SOLUTION


def attention_mask(lengths, n, causal):
    """The mask of a batch of sequences that were padded to length n.

    The first lengths[b] tokens of sequence b are real, the rest is padding that nobody may look at. If `causal`, nobody
    may look at a later position either.

    lengths: (B,), whole numbers from 1 to n.
    n:       the padded length T.
    causal:  True or False.
    Returns a boolean array (B, T, T), True at [b, i, j] where query i may look at key j.

    Example: attention_mask([1, 2], 2, False) gives [[[True, False], [True, False]], [[True, True], [True, True]]].
    """
    ### BEGIN SOLUTION
    positions = np.arange(n)
    real = positions[None, :] < np.asarray(lengths)[:, None]
    # Padding is about keys, the last axis: what is looked at. A padded query still needs something to look at.
    mask = np.broadcast_to(real[:, None, :], (len(real), n, n)).copy()
    if causal:
        mask &= positions[None, :] <= positions[:, None]
    return mask
    ### END SOLUTION


def parameter_count(d_model, d_ff):
    """How many numbers one block learns: exactly those of its twelve arrays.

    d_model, d_ff: the widths d and d_ff, whole numbers.
    Returns a whole number.

    Example: parameter_count(2, 3) is 16 + 6 + 3 + 6 + 2 + 8 = 41: four matrices, W1, b1, W2, b2, two LayerNorms.
    """
    ### BEGIN SOLUTION
    attention = 4 * d_model**2
    network = d_ff * d_model + d_ff + d_model * d_ff + d_model
    norms = 2 * (d_model + d_model)
    return attention + network + norms
    ### END SOLUTION


def estimated_parameters(n_layers, d_model):
    """The rule of thumb for a whole model:   12 L d^2

    Four d x d matrices for attention, and with d_ff = 4 d eight more for the network; biases, norms and embeddings are
    small beside them.

    n_layers, d_model: L and d, whole numbers.
    Returns a whole number.

    Example: estimated_parameters(96, 12288) is 173946175488, the 174 billion of GPT-3's blocks.
    """
    ### BEGIN SOLUTION
    return 12 * n_layers * d_model**2
    ### END SOLUTION


def train(params, x, target, n_heads, mask, peak, warmup, steps):
    """Train one block with AdamW and a warm-up, on the squared error between its output and a target.

    In step t = 1, 2, ..., steps:

        loss = mean over all entries of (out - target)^2
        lr   = peak * min(1, t / warmup)                    rises to peak, and stays there
        params, state = adamw_step(params, grads, state, lr)

    Early steps are small because Adam's averages still know little: a wrong direction is then cheap.

    params:    the parameters to start from; the caller's dict and arrays stay as they are.
    x, target: (B, T, d), both.
    n_heads, mask: as for `block`.
    peak, warmup, steps: the largest learning rate, and two whole numbers from 1 on.
    Returns (params, losses): a dict, and the loss BEFORE each step, an array (steps,).

    Example: with steps = 1, losses has one entry, the loss of the parameters that were given.
    """
    ### BEGIN SOLUTION
    target = np.asarray(target, dtype=np.float64)
    state, losses = {}, np.zeros(steps)
    for t in range(1, steps + 1):
        out, cache = block(x, params, n_heads, mask)
        error = out - target
        losses[t - 1] = np.mean(error**2)
        _, grads = block_backward(2.0 * error / error.size, cache)
        # The first step already moves: a rate of zero would waste it.
        params, state = adamw_step(params, grads, state, peak * min(1.0, t / warmup))
    return params, losses
    ### END SOLUTION
