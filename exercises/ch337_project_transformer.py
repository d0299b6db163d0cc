"""Chapter 337: Project: Transformer Block from Scratch

Does the first token of a sequence appear again? To say so, one has to carry the first token to all others and compare:
no position can know it by itself. That is what attention is for, and you build a whole Transformer classifier that
learns it: embedding and positions, attention with several heads, the pre-LN block, pooling, every gradient by formula,
Adam, the training run, and an honest evaluation. The same model with its attention switched off stays at one half.

    tokens (B, T) -> embed -> x (B, T, d) -> block -> h (B, T, d) -> mean over T -> (B, d) -> logits (B, K)

(A popular task for such a project is the most frequent token. It is a poor one: counting solves it, and a model without
attention scores 100 %. You label that task too, to see what a tie does.)

Conventions, here and in every chapter:
  - batch first: tokens are (B, T), whole numbers from 0; labels are (B,); weights are (out, in), used as x @ W.T;
  - params is a dict E (V, d); gamma1, beta1 (d,); W_q, W_k, W_v, W_o (d, d); gamma2, beta2 (d,); W1 (d_ff, d),
    b1 (d_ff,), W2 (d, d_ff), b2 (d,); W_out (K, d), b_out (K,). Gradients are a dict with the same keys;
  - head h of H owns the columns h * d/H up to (h + 1) * d/H of queries, keys and values;
  - the loss is a mean over the batch, whose 1/B enters once, in the gradient at the logits;
  - random numbers come from the rng that is handed in, in the order that is stated; functions work in float64 and never
    modify what they are given. A cache is whatever your own backward wants to find again.

Layer normalisation, the feed-forward network of chapter 322 (with the GELU's tanh form, which is quick) and the table
of positions of chapter 323 are given.

Run `dlgrade check ch337` as often as you like; `dlgrade hint ch337 attention` helps you on. Every stage has its own
points: an unfinished training loop does not cost the forward pass. `python ch337_project_transformer.py` trains it.
"""

import numpy as np

VOCAB = 8
LENGTH = 8
EPS = 1e-5


def layer_norm(x, gamma, beta):
    """Given: layer normalisation over the last axis. Returns (out, cache)."""
    x, gamma = np.asarray(x, dtype=np.float64), np.asarray(gamma, dtype=np.float64)
    centred = x - np.mean(x, axis=-1, keepdims=True)
    inverse_std = 1.0 / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + EPS)
    x_hat = centred * inverse_std
    return gamma * x_hat + np.asarray(beta, dtype=np.float64), (x_hat, inverse_std, gamma)


def layer_norm_backward(dout, cache):
    """Given: (dx, dgamma, dbeta) of `layer_norm` for dout (B, T, d)."""
    x_hat, inverse_std, gamma = cache
    g = dout * gamma
    dx = g - np.mean(g, axis=-1, keepdims=True) - x_hat * np.mean(g * x_hat, axis=-1, keepdims=True)
    return dx * inverse_std, np.sum(dout * x_hat, axis=(0, 1)), np.sum(dout, axis=(0, 1))


def feed_forward(x, params):
    """Given: gelu(x @ W1.T + b1) @ W2.T + b2 at every position, with the GELU's tanh form. Returns (out, cache)."""
    W1, b1, W2, b2 = (np.asarray(params[name], dtype=np.float64) for name in ("W1", "b1", "W2", "b2"))
    z = x @ W1.T + b1
    t = np.tanh(np.sqrt(2.0 / np.pi) * (z + 0.044715 * z**3))
    hidden = 0.5 * z * (1.0 + t)
    return hidden @ W2.T + b2, (x, z, t, hidden, W1, W2)


def feed_forward_backward(dout, cache):
    """Given: (dx, grads) of `feed_forward` for dout (B, T, d)."""
    x, z, t, hidden, W1, W2 = cache
    slope = 0.5 * (1.0 + t) + 0.5 * z * (1.0 - t**2) * np.sqrt(2.0 / np.pi) * (1.0 + 3 * 0.044715 * z**2)
    dz = (dout @ W2) * slope
    grads = {
        "W1": np.tensordot(dz, x, axes=((0, 1), (0, 1))),
        "b1": np.sum(dz, axis=(0, 1)),
        "W2": np.tensordot(dout, hidden, axes=((0, 1), (0, 1))),
        "b2": np.sum(dout, axis=(0, 1)),
    }
    return dz @ W1, grads


def positional_encoding(n_positions, d):
    """Given: chapter 323's table (T, d), sines on even and cosines on odd columns."""
    angles = np.arange(n_positions)[:, None] * 10000.0 ** (-2 * (np.arange(d) // 2) / d)
    return np.where(np.arange(d) % 2 == 0, np.sin(angles), np.cos(angles))


# --- Stage 1: data ----------------------------------------------------------------------------------------------------


def majority_labels(tokens, vocab):
    """The most frequent token of each sequence; if several are equally frequent, the lowest of them.

    (Ties are common in short sequences. Without a stated rule a label is a matter of luck, and nobody can learn luck.)

    tokens: (B, T), whole numbers from 0 to vocab - 1.
    Returns whole numbers (B,).

    Example: majority_labels([[2, 1, 1], [2, 0, 2], [2, 1, 0]], 3) gives [1, 2, 0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("majority_labels is still to do")


def make_data(n, length, vocab, rng):
    """Sequences, and whether their first token appears again; one half does, on average.

    Four draws, in this order:

        first = rng.integers(0, vocab, size=n)                        the first tokens
        steps = rng.integers(1, vocab, size=(n, length - 1))          the others are (first + step) modulo vocab,
                                                                      so that none of them is the first token again
        labels = rng.integers(0, 2, size=n)
        place = rng.integers(1, length, size=n)                       where the label is 1, the token at this position
                                                                      of the sequence is replaced by the first one

    n, length, vocab: whole numbers; length and vocab are at least 2.
    Returns (tokens, labels): whole numbers (n, length) and (n,).

    Example: with first 5, steps 1, 4, 3, vocab 8, label 1 and place 2 the sequence is [5, 6, 5, 0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("make_data is still to do")


# --- Stage 2: the model, forward --------------------------------------------------------------------------------------


def init_params(vocab, d, d_ff, n_classes, rng):
    """Parameters of a new model. Draws, in this order, all with rng.normal(0.0, std, size=shape):

        E     (vocab, d)             std 1
        W_q, W_k, W_v, W_o (d, d)    std 1 / sqrt(d)
        W1    (d_ff, d)              std 1 / sqrt(d)
        W2    (d, d_ff)              std 1 / sqrt(d_ff)
        W_out (n_classes, d)         std 1 / sqrt(d)

    gamma1 and gamma2 are ones; beta1, beta2, b1, b2 and b_out are zeros. (Tokens get the same size as positions. With
    the usual std of 0.02 the table of positions would drown them.)

    vocab, d, d_ff, n_classes: whole numbers.
    Returns a dict with the 15 keys and shapes listed at the top.

    Example: init_params(8, 4, 6, 2, rng)["W2"] has the shape (4, 6).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("init_params is still to do")


def embed(tokens, E, positions_on=True):
    """Rows of the table E, plus the encoding of the position.

    x[b, t] = E[tokens[b, t]] + positional_encoding(T, d)[t]; if positions_on is False, nothing is added.

    tokens: (B, T). E: (V, d).
    Returns an array (B, T, d).

    Example: embed([[1]], [[1, 2], [3, 4]]) gives [[[3, 5]]]: position 0 is encoded as [0, 1].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("embed is still to do")


def embed_backward(dout, tokens, vocab):
    """The gradient of the table: every row collects the gradients of ALL places where its token stands.

    dout: (B, T, d). tokens: (B, T). vocab: the number of rows V.
    Returns an array (V, d); rows of tokens that do not occur are zero.

    Example: embed_backward([[[1.0], [2.0], [5.0]]], [[0, 2, 0]], 3) gives [[6], [0], [2]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("embed_backward is still to do")


def attention(x, params, n_heads):
    """Self-attention with several heads, every position looking at every position.

        q, k, v = x W_q^T, x W_k^T, x W_v^T, each cut into heads of dk = d / n_heads columns
        weights = softmax over the keys of q k^T / sqrt(dk)               out = (heads side by side) W_o^T

    Subtract the maximum before the exponential: scores of thousands must not give nan.

    x: (B, T, d). params: dict with W_q, W_k, W_v, W_o (d, d), and perhaps others. n_heads divides d.
    Returns (out, weights, cache): arrays (B, T, d) and (B, n_heads, T, T), query before key, and the cache.

    Example: with W_q of zeros every weight is 1/T.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("attention is still to do")


def block(x, params, n_heads, attention_on=True):
    """The pre-LN block:   y = x + attention(LN1(x))          out = y + feed_forward(LN2(y))

    LN1 is `layer_norm` with gamma1 and beta1, LN2 with gamma2 and beta2. If attention_on is False, the first branch is
    left out altogether, y = x, and the weights are all zero.

    x: (B, T, d). params: the dict of the whole model.
    Returns (out, weights, cache): arrays (B, T, d) and (B, n_heads, T, T), and the cache.

    Example: with W_o, W2 and b2 zero out equals x exactly.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("block is still to do")


def forward(tokens, params, n_heads, attention_on=True, positions_on=True):
    """The whole model: embed, block, mean over the positions, and logits = pooled @ W_out.T + b_out.

    tokens: (B, T). params, n_heads: the model. attention_on, positions_on: for `block` and `embed`.
    Returns (logits, weights, cache): arrays (B, K) and (B, n_heads, T, T), and the cache.

    Example: with W_out zero the logits are b_out for every sequence. Without positions, another order of a sequence's
             tokens gives the same logits.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("forward is still to do")


# --- Stage 3: backward ------------------------------------------------------------------------------------------------


def attention_backward(dout, cache):
    """Backward through `attention`. With the gradient dw at the weights, the one at the scores is, for each query,

        dscores = weights * (dw - sum over the keys of dw * weights) / sqrt(dk)      (the root is that of the scores)

    x went in three times, as query, key and value: its gradient is the sum of three.

    dout: (B, T, d), at out. cache: what `attention` returned third.
    Returns (dx, grads): an array (B, T, d), and a dict with the keys W_q, W_k, W_v, W_o.

    Example: if W_o is zero, dx and all gradients but that of W_o are zero.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("attention_backward is still to do")


def block_backward(dout, cache):
    """Backward through `block` with its attention on. A sum x + branch(x) sends the gradient both ways.

    dout: (B, T, d), at out. cache: what `block` returned third, with attention_on True.
    Returns (dx, grads): an array (B, T, d), and a dict with the 12 keys gamma1, beta1, W_q, W_k, W_v, W_o, gamma2,
    beta2, W1, b1, W2, b2.

    Example: with W_o, W2 and b2 zero dx equals dout.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("block_backward is still to do")


def backward(dlogits, cache):
    """Gradients of all parameters, every entry of every one: the head, the mean, the block, the table.

    Each of T positions gave 1/T of the mean. With attention_on False in the forward pass the gradients of what was
    left out (gamma1, beta1, W_q, W_k, W_v, W_o) are zeros.

    dlogits: (B, K), any numbers. cache: what `forward` returned third; it stays as it is and can be used again.
    Returns grads: a dict with exactly the keys and shapes of params.

    Example: the gradient of b_out is the sum of dlogits over the batch, (K,).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("backward is still to do")


def cross_entropy(logits, labels):
    """The mean over the batch of -log softmax(logits)[label], and its gradient at the logits, (p - one_hot) / B.

    logits: (B, K); subtract each row's maximum first, so that logits of 10,000 are no trouble. labels: (B,).
    Returns (loss, dlogits): a number, and an array (B, K).

    Example: cross_entropy([[0.0, 0.0]], [1]) gives (log 2, [[0.5, -0.5]]).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("cross_entropy is still to do")


# --- Stage 4: training ------------------------------------------------------------------------------------------------


def adam_step(params, grads, optimizer, lr):
    """One step of Adam, with beta1 = 0.9, beta2 = 0.999 and eps = 1e-8.

        t = t + 1      m = 0.9 m + 0.1 g      v = 0.999 v + 0.001 g^2
        w = w - lr * m_hat / (sqrt(v_hat) + 1e-8)     with m_hat = m / (1 - 0.9^t) and v_hat = v / (1 - 0.999^t)

    t is 1 in the first step and counts STEPS: it is the same for all parameters, however many there are.

    params, grads: dicts with the same keys, arrays of any shape, for example (8, 32). optimizer: {} before the first
    step, and later what your last call returned.
    Returns (params, optimizer): a new dict, and the memory for the next step.

    Example: adam_step({"w": [1.0], "b": [1.0]}, {"w": [3.0], "b": [-0.5]}, {}, 0.1) moves w to 0.9 and b to 1.1.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("adam_step is still to do")


def clip(grads, max_norm):
    """Given: the gradients, scaled down together if the norm of all their entries is above max_norm."""
    norm = np.sqrt(sum(np.sum(grad**2) for grad in grads.values()))
    scale = min(1.0, max_norm / norm) if norm > 0 else 1.0
    return {name: grad * scale for name, grad in grads.items()}


def train(
    tokens, labels, rng, vocab=VOCAB, n_heads=4, d=32, d_ff=64, steps=1200, batch_size=64, lr=0.006, attention_on=True
):
    """A training run. First init_params(vocab, d, d_ff, 2, rng); then each step s = 0, 1, ..., steps - 1:

      - batch = rng.integers(0, N, size=batch_size): the rows of this step's batch;
      - `forward` (with attention_on, and with positions), `cross_entropy` and `backward` on it;
      - clip(grads, 1.0), and `adam_step` with the rate lr * (1 + cos(pi * s / steps)) / 2. One memory serves the whole
        run.

    tokens, labels: the training sequences, (N, T) and (N,).
    other:          the model's and the run's sizes; attention_on False trains the model without its attention.
    Returns (params, losses): the trained parameters, and the loss of each step's batch BEFORE the step, (steps,).

    Example: with steps=1 and lr=0.0 the parameters are those of init_params.

    With 4,000 sequences of `make_data` and the defaults it must be right on at least 97 % of sequences it has never
    seen, within 30 seconds of CPU time. The defaults do; you may choose others. (The check may let the last
    position play the first one's role, and may swap the labels, so that only learning helps.) With attention_on=False
    it must stay near one half: every position then sees only itself, and nothing can be compared.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("train is still to do")


# --- Stage 5: evaluation ----------------------------------------------------------------------------------------------


def predict(tokens, params, n_heads=4, attention_on=True):
    """The label of each sequence: the class with the larger logit, the lower class if they are equal.

    tokens: (B, T), also B = 1. params: the model.
    Returns whole numbers (B,).

    Example: with W_out zero and b_out = [0, 1] every answer is 1.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("predict is still to do")


def held_out_accuracy(predicted, labels, tokens, seen):
    """The share of right answers among the sequences that were NOT in the training set.

    predicted, labels: (B,). tokens: the B sequences, (B, T). seen: the training sequences, (N, T).
    At least one of the B sequences is not among the seen ones.
    Returns a number from 0 to 1.

    Example: held_out_accuracy([1, 0, 1], [1, 1, 1], [[3, 3], [1, 2], [2, 2]], [[3, 3]]) gives 0.5: the first sequence
             was seen, and of the two others one is right.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("held_out_accuracy is still to do")


def main():
    """Given: the whole project in one run, with its attention and without."""
    rng = np.random.default_rng(337)
    tokens, labels = make_data(4000, LENGTH, VOCAB, rng)
    test, answers = make_data(2000, LENGTH, VOCAB, rng)
    for attention_on in (True, False):
        params, losses = train(tokens, labels, np.random.default_rng(0), attention_on=attention_on)
        print("with attention" if attention_on else "attention switched off")
        for start in range(0, len(losses), 100):
            print(f"  steps {start:4} to {start + 99:4}: mean loss {np.mean(losses[start : start + 100]):.4f}")
        said = predict(test, params, attention_on=attention_on)
        print(f"  right on sequences never seen: {held_out_accuracy(said, answers, test, tokens):.3f}")


if __name__ == "__main__":
    main()
