"""Chapter 336: Project: Character-Level Language Model

You read nine tenths of Hamlet, character by character, and learn to say which character comes next. How good that is,
the last tenth tells, in bits per character: the mean of -log2 of the probability that was given to what really came.
Numbers mean little without something to compare them with, so you count first: on Hamlet's last tenth, characters alone
need 4.66 bits, pairs 3.52, triples 2.80. Then you build a network with a memory (a GRU), prove its gradients through
time, train it on streams of text whose state is carried along, and let it write. With the defaults it comes to about
2.5 bits in ten seconds. Your target is 0.15 bits below the triples.

(It does not beat counting as such: counts of four and of five characters in a row reach 2.43 and 2.37 on this text.
Trained for a minute, a network of this size draws level with them, no more.)

Conventions, here and in every chapter:
  - a text is turned into ids, whole numbers from 0 to V - 1; the batch is the first axis, time the second: windows of
    ids are (B, T), states (B, H), all states (B, T, H), logits (B, T, V);
  - weights are (out, in); params is a dict W_ih (3H, V), W_hh (3H, H), b_ih, b_hh (3H,), W_out (V, H), b_out (V,). The
    GRU's three blocks of H rows are r, z, n (reset, update, new). Gradients are a dict with THE SAME keys;
  - the loss is a mean over all B * T predictions, in nats; its 1 / (B T) enters once, in the gradient at the logits.
    Bits are nats divided by log 2;
  - random numbers come from the rng that is handed in, in the order that is stated; functions work in float64, accept
    lists, and never modify what they are given. A cache is whatever your own backward wants to find again.

Run `dlgrade check ch336` as often as you like (the last check trains your network and takes a while;
`dlgrade check ch336:gru_forward` checks one exercise only). Every stage has its own points: an unfinished training loop
does not cost the forward pass. `python ch336_project_char_lm.py` trains it and lets it write.
"""

import numpy as np


def sigmoid(x):
    """Given: 1 / (1 + exp(-x)), without overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * np.asarray(x, dtype=np.float64))


def adam_step(params, grads, optimizer, lr):
    """Given: one step of Adam, chapter 312's. The optimizer is {} at first. Returns (params, optimizer), both new."""
    t = optimizer.get("t", 0) + 1
    new, m, v = {}, {}, {}
    for name, w in params.items():
        m[name] = 0.9 * optimizer.get("m", {}).get(name, 0.0) + 0.1 * grads[name]
        v[name] = 0.999 * optimizer.get("v", {}).get(name, 0.0) + 0.001 * grads[name] ** 2
        new[name] = w - lr * (m[name] / (1 - 0.9**t)) / (np.sqrt(v[name] / (1 - 0.999**t)) + 1e-8)
    return new, {"t": t, "m": m, "v": v}


# --- Stage 1: from text to windows ------------------------------------------------------------------------------------


def vocabulary(text):
    """The different characters of a text, each once, in the order of their character codes (Python's sorting order).

    text: a string of any number of characters, from 1 on.
    Returns a string.

    Example: vocabulary("to be") gives " beot".
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("vocabulary is still to do")


def encode(text, symbols):
    """The text as ids: for every character its place in symbols, counted from 0.

    text: a string of N characters, all of which occur in symbols. symbols: a string in which every character is
    different; any order is possible.
    Returns an array (N,) of whole numbers.

    Example: encode("bee", "eb") gives [1, 0, 0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("encode is still to do")


def decode(ids, symbols):
    """The text that ids stand for: the way back from `encode`.

    ids: whole numbers, (N,), a list or an array; N may be 0. symbols: as in `encode`.
    Returns a string of N characters.

    Example: decode([1, 0, 0], "eb") gives "bee".
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("decode is still to do")


def split_tail(ids, n_tail):
    """The held-out part of a text: its last n_tail characters, which nothing is ever learned from.

    Text is not shuffled like images: a model that has read both neighbours of a held-out character has half seen it.

    ids: (N,). n_tail: a whole number from 1 to N - 1.
    Returns (train, tail): arrays (N - n_tail,) and (n_tail,). Together they are ids, in order.

    Example: split_tail([5, 6, 7, 8], 1) gives ([5, 6, 7], [8]).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("split_tail is still to do")


def stream_batches(ids, batch_size, length):
    """The text as windows for training with a carried state.

    The text is cut into batch_size streams that lie one after the other, and every stream into K windows of `length`
    characters. So the state after window k of a stream is the right start for window k + 1. With T = length and

        K = (N - 1) // (batch_size * T)                      (whole windows only; the rest at the end is left out)

        inputs[k, b, t] = ids[b * K * T + k * T + t]         targets[k, b, t] = the character AFTER it in the text

    ids: (N,), with N large enough for one window, K >= 1. batch_size, length: whole numbers.
    Returns (inputs, targets): whole numbers, both (K, batch_size, T).

    Example: stream_batches([0, 1, 2, 3, 4, 5, 6, 7, 8], 2, 2) gives inputs [[[0, 1], [4, 5]], [[2, 3], [6, 7]]]: the
             first stream is 0, 1, 2, 3 and the second 4, 5, 6, 7. The targets are all one larger; the last one is 8.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("stream_batches is still to do")


# --- Stage 2: what counting can do ------------------------------------------------------------------------------------


def ngram_probs(ids, n, vocab_size):
    """Probabilities of the next character given the n - 1 before it, by counting; Witten and Bell's smoothing.

    For a context h of k - 1 characters and a character c, let count(hc) be how often the k characters hc stand in the
    text in a row, total(h) the sum of count(hc) over all c, and kinds(h) the number of different c with count(hc) > 0.
    Begin with p_0(c) = 1 / V. Then, for k = 1, ..., n, with h' for h without its FIRST character,

        p_k(c | h) = (count(hc) + kinds(h) * p_(k-1)(c | h')) / (total(h) + kinds(h))

    and p_k(c | h) = p_(k-1)(c | h') if h was never followed by anything, total(h) = 0. (For k = 1 the context is empty.
    A context that was often seen is believed; a rare one, or one that goes on in many ways, asks the shorter one.)

    ids: the training text, (N,) with N >= n. n: 1, 2 or 3. vocab_size: V.
    Returns p_n, an array with n axes of length V: the last is the character, the ones before it the context, the
    oldest first; for n = 3 p[a, b, c] is the probability of c after a, b.

    Example: for ids = [0, 0, 1], n = 1 and V = 2 the counts are 2 and 1, total is 3 and kinds is 2: p = [0.6, 0.4]. For
             n = 2: 0 was followed by 0 and by 1, once each, which gives [(1 + 2 * 0.6) / 4, (1 + 2 * 0.4) / 4]; 1 was
             followed by nothing. So p = [[0.55, 0.45], [0.6, 0.4]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("ngram_probs is still to do")


def ngram_bits(probs, ids, warm_up):
    """Bits per character of an n-gram model on a text: the mean of -log2 p over the characters ids[i], i >= warm_up.

    The first warm_up characters are only read, as context: a network, too, needs some before it can be judged, and both
    shall be judged on the same ones.

    probs: what `ngram_probs` returns, n axes. ids: (N,). warm_up: a whole number from n - 1 to N - 1.
    Returns a number.

    Example: with probs = [0.25, 0.75], ids = [0, 1, 0, 0] and warm_up = 2 it is 2.0.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("ngram_bits is still to do")


# --- Stage 3: the network and its gradients ---------------------------------------------------------------------------


def init_params(vocab_size, hidden, rng):
    """Parameters of a new model. With s = 1 / sqrt(hidden), draws in this order, each rng.uniform(-a, a, size=shape):

        W_ih  (3 * hidden, vocab_size)    a = 5 * s
        W_hh  (3 * hidden, hidden)        a = s
        W_out (vocab_size, hidden)        a = s

    b_ih, b_hh and b_out are zeros. (W_ih is wider, for of all its columns only ONE is used in each step: nothing adds
    up, and with the usual size the network would hardly hear the text.)

    vocab_size, hidden: whole numbers V and H.
    Returns a dict with the six keys and shapes listed at the top.

    Example: init_params(65, 4, rng)["W_ih"] has the shape (12, 65) and numbers between -2.5 and 2.5.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("init_params is still to do")


def gru_forward(ids, h0, params):
    """The GRU of chapter 318, reading windows of characters. In each step, for the character's id and the state h:

        u = column id of W_ih, plus b_ih         v = h W_hh^T + b_hh         each cut into three blocks of H: r, z, n
        r = sigmoid(u_r + v_r)                   z = sigmoid(u_z + v_z)
        n = tanh(u_n + r * v_n)                  the new h = (1 - z) * n + z * h

    (The input is the one-hot vector of the id, and a matrix times a one-hot vector is a column of the matrix.)

    ids: whole numbers, (B, T), B and T from 1 on. h0: the state before the first character, (B, H).
    params: the dict of the model.
    Returns (hs, cache): the states after each character, (B, T, H), and whatever your `gru_backward` wants to find
    again.

    Example: with all parameters zero, z is 0.5 and n is 0: every step halves the state. h0 = [[8.0]] and three
             characters give hs = [[[4.0], [2.0], [1.0]]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("gru_forward is still to do")


def gru_backward(dhs, cache):
    """Back through time through `gru_forward`. The last step comes first; at each step, with dh the WHOLE gradient at
    its new state (what dhs says, plus what the step after it sent back),

        da_n = dh * (1 - z) * (1 - n^2)      da_z = dh * (h - n) * z (1 - z)      da_r = da_n * v_n * r (1 - r)

    u gets (da_r, da_z, da_n) side by side, v gets (da_r, da_z, r * da_n), and the state before the step gets
    dh * z plus what comes through v. Column id of W_ih gets what u got: the same character may stand in many places,
    and its gradients add up.

    dhs: the gradients at hs from outside, (B, T, H). cache: what `gru_forward` returned second; it stays as it is.
    Returns (grads, dh0): a dict with the keys W_ih, W_hh, b_ih, b_hh, summed over batch and time, and the gradient at
    h0, (B, H).

    Example: with all parameters zero, three characters and dhs = [[[0.0], [0.0], [1.0]]], dh0 is [[0.125]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("gru_backward is still to do")


def forward(ids, h0, params):
    """The whole model: `gru_forward`, and at every step logits = h @ W_out.T + b_out.

    ids: (B, T). h0: (B, H). params: the dict of the model.
    Returns (logits, h_last): an array (B, T, V), and the state after the last character, (B, H), as a new array: it
    is where the next window goes on.

    Example: with W_out zero the logits are b_out at every step. Reading a text in two windows, the second from the
             first one's h_last, gives the same logits as reading it in one.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("forward is still to do")


def cross_entropy(logits, targets):
    """The mean over all B * T predictions of -log softmax(logits)[target], in nats, and its gradient at the logits.

    The gradient is (softmax(logits) - one-hot of the target) / (B T). Subtract the maximum over the characters first,
    so that logits of 10,000 are no trouble.

    logits: (B, T, V). targets: whole numbers (B, T).
    Returns (loss, dlogits): a number, and an array (B, T, V).

    Example: cross_entropy([[[0.0, 0.0]]], [[1]]) gives (log 2, [[[0.5, -0.5]]]). Equal logits for V characters cost
             log V nats, whatever comes.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("cross_entropy is still to do")


def loss_and_grads(params, inputs, targets, h0):
    """The loss of a window, the gradients of all six parameters, and the state to go on with.

    The state h0 came from the window before, and depends on the parameters too. Here it counts as a given number: the
    gradient ends at the window's beginning. That is TRUNCATED back-propagation through time. Without it every step
    would go back to the first page.

    params: the dict of the model. inputs, targets: (B, T). h0: (B, H).
    Returns (loss, grads, h_last): a number, a dict with exactly the keys of params, and an array (B, H).

    Example: with W_out and b_out zero the loss is log V, and the gradients of W_ih, W_hh, b_ih and b_hh are zero.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("loss_and_grads is still to do")


# --- Stage 4: training ------------------------------------------------------------------------------------------------


def clip_gradients(grads, max_norm):
    """All gradients together, scaled down if they are too long. Through many steps a gradient can explode; one such
    step would undo a thousand good ones.

    norm = the root of the sum of the squares of ALL entries of ALL arrays. If it is above max_norm, every array is
    multiplied by max_norm / norm; otherwise they stay as they are.

    grads: a dict of arrays of any shapes, for example (4,) and (2, 3). max_norm: a number above 0.
    Returns (clipped, norm): a new dict with the same keys, and the norm BEFORE clipping.

    Example: clip_gradients({"a": [3.0], "b": [4.0]}, 1.0) gives ({"a": [0.6], "b": [0.8]}, 5.0).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("clip_gradients is still to do")


def train_step(params, optimizer, inputs, targets, h, lr, max_norm=1.0):
    """One step of the training: `loss_and_grads`, `clip_gradients`, `adam_step` with the clipped gradients.

    params, optimizer: the model, and Adam's memory ({} before the first step). inputs, targets: (B, T).
    h: the state, (B, H). lr, max_norm: numbers.
    Returns (params, optimizer, h_last, loss): the new parameters and memory; and the state after the window and the
    loss, both computed with the OLD parameters.

    Example: with lr = 0.0 the parameters come back as they are.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("train_step is still to do")


def train(ids, vocab_size, rng, hidden=128, batch_size=16, length=25, steps=800, lr=0.01):
    """A training run. First init_params(vocab_size, hidden, rng), then the windows of `stream_batches`, K of them; then
    each step s = 0, 1, ..., steps - 1 is one `train_step`

      - on window s modulo K;
      - with the rate lr * (1 - s / steps), which falls along a line, and gradients clipped to the norm 1.0;
      - from the state that the step before returned. When the window is number 0, the streams begin anew, and the
        state is zeros.

    ids: the training text, (N,), whole numbers from 0 to vocab_size - 1. Other arguments: sizes of model and run.
    Returns (params, losses): the trained parameters, and the loss of each step, (steps,), in nats.

    Example: with steps=1 and lr=0.0 the parameters are those of init_params.

    With the first 90 % of Hamlet and the defaults the model must need at least 0.15 bits per character less than the
    trigram of `ngram_probs` on the rest, within 120 seconds of CPU time. The defaults do, in about ten; you may choose
    others, as long as the model is the GRU described at the top. (The check numbers the characters in a random order
    and lets the text begin somewhere else, so that only learning helps; it judges the parameters that you return.)
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("train is still to do")


# --- Stage 5: judge it, and let it write ------------------------------------------------------------------------------


def bits_per_char(ids, params, warm_up=50, chunk=500):
    """Bits per character of the model on a text: the mean of -log2 p over the characters ids[i], i >= warm_up.

    The model reads the text as ONE stream, B = 1, from a state of zeros: it has read ids[0], ..., ids[i - 1] when it
    predicts ids[i]. The first warm_up characters are read and not counted. So that memory suffices for a long text, it
    is read in chunks of `chunk` characters; the state is carried from one to the next, and the result is the same for
    every chunk from 1 on.

    ids: (N,). warm_up: a whole number from 1 to N - 1. chunk: a whole number.
    Returns a number.

    Example: with W_out and b_out zero it is log2 V for every text.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("bits_per_char is still to do")


def perplexity(bits):
    """Bits per character, said in another way: 2 ** bits is among how many equally likely characters one would have
    to guess.

    bits: a number.
    Returns a number.

    Example: perplexity(3.0) gives 8.0.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("perplexity is still to do")


def sample(prompt, n, temperature, params, rng):
    """Let the model write: n characters after a prompt.

    From a state of zeros the model reads the prompt, each character once. The logits after its last character belong to
    the first new character; that one is chosen, read, and so on. To choose:

        p = softmax(logits / temperature)         u = rng.random()         the first id whose p[0] + ... + p[id] > u

    (should rounding leave no such id, the last one). One rng.random() a character, in order. A small temperature makes
    large numbers: subtract the maximum before the exponential. Temperature 0 means: the id with the largest logit, the
    lowest of equals, and nothing is drawn. Low temperatures play safe, high ones dare.

    prompt: ids, (P,), P from 1 on. n: a whole number from 1 on. temperature: 0 or above.
    params: the dict of the model.
    Returns the n new ids, whole numbers (n,), without the prompt.

    Example: with W_out zero and b_out = [0, 9, 0], temperature 0 gives 1, 1, 1, ... after every prompt. With W_out and
             b_out zero and V = 4, u = 0.6 chooses 2 at every temperature above 0.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("sample is still to do")


def main():
    """Given: the whole project in one run."""
    from dlgrade.course.data.text import hamlet

    text = hamlet()
    symbols = vocabulary(text)
    ids, tail = split_tail(encode(text, symbols), len(text) // 10)
    for n, name in ((1, "characters alone"), (2, "pairs"), (3, "triples")):
        bits = ngram_bits(ngram_probs(ids, n, len(symbols)), tail, 50)
        print(f"{name:17} {bits:.3f} bits per character")
    params, losses = train(ids, len(symbols), np.random.default_rng(336))
    for start in range(0, len(losses), 100):
        mean = np.mean(losses[start : start + 100]) / np.log(2.0)
        print(f"  steps {start:3} to {start + 99:3}: {mean:.3f} bits on what it learns from")
    bits = bits_per_char(tail, params)
    print(f"{'your network':17} {bits:.3f} bits per character, perplexity {perplexity(bits):.1f}")
    for temperature in (0, 0.5, 1.0, 1.5):
        written = sample(encode("Ham.\n", symbols), 200, temperature, params, np.random.default_rng(0))
        print(f"\n--- temperature {temperature}\nHam.\n{decode(written, symbols)}")


if __name__ == "__main__":
    main()
