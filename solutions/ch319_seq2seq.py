"""Chapter 319: Sequence-to-Sequence Models

An encoder reads one sequence and hands its last state, the context, to a decoder, which writes another. You prepare the
data, write the loss that skips padding, the whole model with its gradients, two ways to search for an answer, and train
it to reverse sequences. At the end stands attention, which lets the decoder look back at every step of the source.

Conventions, here and in every chapter:
  - the batch is the first axis, time the second: token ids are (B, T), sequences of vectors (B, T, D);
  - sequences of unequal length are filled up at the END with the id `pad`; a mask is True on real tokens;
  - a model is a dict: E (V, e), the table of token vectors, shared by both sides; the four arrays of an LSTM (input e,
    hidden H) under "enc_" and again under "dec_", such as enc_W_ih; and W_out (V, H), b_out (V,);
  - gradients come back as a dict with the same eleven keys;
  - functions accept any arrays or lists, compute in float64, and never modify what they are given.

Run `dlgrade check ch319` as often as you like; `dlgrade hint ch319 decoder_pairs` helps you on.
"""

import numpy as np

# The ids of the three special tokens in the task of reversal; its digits have the ids 3 and up.
BOS, EOS, PAD = 0, 1, 2
LSTM_NAMES = ("W_ih", "W_hh", "b_ih", "b_hh")


def lstm_forward(x, params, state=None, mask=None):
    """GIVEN: an LSTM over sequences (you wrote one in chapter 318), which stands still where the mask is False.

    x (B, T, D), params with W_ih (4H, D), W_hh (4H, H), b_ih and b_hh; state the tuple (h, c), each (B, H), or None for
    zeros; mask (B, T): at a step that is False the sample's h and c stay as they were, so that padding at the end does
    not touch the last state. None means all True.
    Returns (hs, (h, c), cache): all states (B, T, H), the last state, and what `lstm_backward` needs.
    """
    x = np.asarray(x, dtype=np.float64)
    params = {name: np.asarray(params[name], dtype=np.float64) for name in LSTM_NAMES}
    batch, steps, _ = x.shape
    hidden = params["W_hh"].shape[1]
    live = np.ones((batch, steps), dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    zeros = np.zeros((batch, hidden))
    h, c = (zeros, zeros) if state is None else (np.asarray(part, dtype=np.float64) for part in state)
    hs, memory = np.zeros((batch, steps, hidden)), []
    for t in range(steps):
        a = x[:, t] @ params["W_ih"].T + params["b_ih"] + h @ params["W_hh"].T + params["b_hh"]
        s = 0.5 + 0.5 * np.tanh(0.5 * a)
        i, f, o = s[:, :hidden], s[:, hidden : 2 * hidden], s[:, 3 * hidden :]
        g = np.tanh(a[:, 2 * hidden : 3 * hidden])
        c_new = f * c + i * g
        memory.append((h, c, i, f, g, o, np.tanh(c_new)))
        on = live[:, t, None]
        h, c = np.where(on, o * np.tanh(c_new), h), np.where(on, c_new, c)
        hs[:, t] = h
    return hs, (h, c), (x, params, live, memory)


def lstm_backward(dhs, cache, dlast=None):
    """GIVEN: backward through `lstm_forward`.

    dhs (B, T, H) is the gradient at all states; None means zeros. dlast is the tuple (dh, dc) of further gradients at
    the last state; None means zeros.
    Returns (dx, (dh0, dc0), grads): the gradients of the inputs, of the start state, and a dict with the four names.
    """
    x, params, live, memory = cache
    zeros = np.zeros_like(memory[0][0])
    dh, dc = (zeros, zeros) if dlast is None else (np.asarray(part, dtype=np.float64) for part in dlast)
    dx = np.zeros_like(x)
    grads = {name: np.zeros_like(value) for name, value in params.items()}
    for t in reversed(range(x.shape[1])):
        h, c, i, f, g, o, tanh_c = memory[t]
        if dhs is not None:
            dh = dh + np.asarray(dhs, dtype=np.float64)[:, t]
        on = live[:, t, None]
        # Where the step stood still, its gradient goes straight to the state before.
        to_h, to_c = np.where(on, dh, 0.0), np.where(on, dc, 0.0)
        total = to_c + to_h * o * (1.0 - tanh_c**2)
        parts = [total * g * i * (1 - i), total * c * f * (1 - f), total * i * (1 - g**2), to_h * tanh_c * o * (1 - o)]
        da = np.concatenate(parts, axis=1)
        grads["W_ih"] += da.T @ x[:, t]
        grads["W_hh"] += da.T @ h
        grads["b_ih"] += da.sum(axis=0)
        grads["b_hh"] += da.sum(axis=0)
        dx[:, t] = da @ params["W_ih"]
        dh, dc = da @ params["W_hh"] + (dh - to_h), total * f + (dc - to_c)
    return dx, (dh, dc), grads


def lstm_part(params, side):
    """GIVEN: the four LSTM arrays of one side of the model; side is "enc" or "dec"."""
    return {name: params[f"{side}_{name}"] for name in LSTM_NAMES}


def adam_step(params, grads, state, lr):
    """GIVEN: one step of Adam (chapter 312). state is a dict that belongs to it, empty at the start."""
    t = state.get("t", 0) + 1
    grads = {name: np.asarray(grads[name], dtype=np.float64) for name in params}
    m = {name: 0.9 * state.get("m", {}).get(name, 0.0) + 0.1 * grads[name] for name in params}
    v = {name: 0.999 * state.get("v", {}).get(name, 0.0) + 0.001 * grads[name] ** 2 for name in params}
    new = {}
    for name in params:
        m_hat, v_hat = m[name] / (1.0 - 0.9**t), v[name] / (1.0 - 0.999**t)
        new[name] = np.asarray(params[name], dtype=np.float64) - lr * m_hat / (np.sqrt(v_hat) + 1e-8)
    return new, {"t": t, "m": m, "v": v}


def pad_sequences(sequences, pad):
    """Make a rectangle of sequences of unequal length.

    sequences: a list of lists of token ids, none of them empty.
    pad:       the id that fills up the short ones, at the end.
    Returns (ids, mask): arrays (B, longest), of whole numbers and of True and False; the mask is True on real tokens. A
    token is real by its place: a real token may well have the id `pad`.

    Example: pad_sequences([[5, 6, 7], [8]], 2) gives ([[5, 6, 7], [8, 2, 2]],
             [[True, True, True], [True, False, False]]).
    """
    ### BEGIN SOLUTION
    longest = max(len(sequence) for sequence in sequences)
    ids = np.full((len(sequences), longest), pad, dtype=np.int64)
    mask = np.zeros((len(sequences), longest), dtype=bool)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = True
    return ids, mask
    ### END SOLUTION


def decoder_pairs(sequences, bos, eos, pad):
    """What the decoder is fed, and what it must answer: teacher forcing.

    For an answer y_1 ... y_n the decoder is fed BOS y_1 ... y_n and must say y_1 ... y_n EOS: at every step it sees the
    right token of the step BEFORE, and never the one it has to say.

    sequences:     the right answers, a list of lists of token ids, without BOS and EOS.
    bos, eos, pad: the ids of the three special tokens.
    Returns (inputs, targets, mask): arrays (B, longest + 1), filled up with pad at the end. The mask is True on the
    targets that count, EOS included.

    Example: decoder_pairs([[5, 6], [7]], 0, 1, 2) gives inputs [[0, 5, 6], [0, 7, 2]], targets [[5, 6, 1], [7, 1, 2]]
             and the mask [[True, True, True], [True, True, False]].
    """
    ### BEGIN SOLUTION
    inputs, mask = pad_sequences([[bos, *sequence] for sequence in sequences], pad)
    targets, _ = pad_sequences([[*sequence, eos] for sequence in sequences], pad)
    return inputs, targets, mask
    ### END SOLUTION


def masked_cross_entropy(logits, targets, mask):
    """Cross-entropy over the tokens that count, and its gradient.

        loss = - (sum over the real tokens of log softmax(logits)[target]) / (number of real tokens in the batch)

    The mean is over TOKENS: a long sequence counts for more than a short one. Padding takes no part: it adds nothing to
    the sum, nothing to the number, and its gradient is exactly zero. What stands in targets under a False may be any
    number, also -1. Subtract the maximum first, so that logits of 10,000 do no harm.

    logits:  (B, T, V).
    targets: (B, T), whole numbers.
    mask:    (B, T), True on the tokens that count, at least one of them.
    Returns (loss, dlogits): a float, and an array (B, T, V).

    Example: logits of zeros with V = 4 give the loss log 4, whatever counts.
    """
    ### BEGIN SOLUTION
    logits, mask = np.asarray(logits, dtype=np.float64), np.asarray(mask, dtype=bool)
    # Any valid id will do where nothing counts.
    targets = np.where(mask, np.asarray(targets), 0).astype(np.int64)
    count = mask.sum()
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    picked = np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    loss = -np.sum(picked[mask]) / count
    one_hot = np.arange(logits.shape[-1]) == targets[..., None]
    dlogits = (np.exp(log_p) - one_hot) * mask[..., None] / count
    return float(loss), dlogits
    ### END SOLUTION


def seq2seq_forward(source, source_mask, inputs, params):
    """The whole model, with teacher forcing.

    1. Encoder: the vectors E[source] go through the LSTM "enc", from a state of zeros and with source_mask.
    2. Context: its last state, h AND c, is the start state of the decoder.
    3. Decoder: the vectors E[inputs] go through the LSTM "dec". (No mask: what comes after the end is not counted.)
    4. Output: logits = hs W_out^T + b_out, hs the decoder's states.

    `lstm_forward` and `lstm_part` are given.

    source:      token ids (B, S).
    source_mask: (B, S), True on real tokens.
    inputs:      what the decoder is fed, token ids (B, T). T may differ from S.
    params:      the model.
    Returns (logits, cache): an array (B, T, V), and whatever your `seq2seq_backward` wants to find again.

    Example: with W_out of zeros, the logits are b_out at every step.
    """
    ### BEGIN SOLUTION
    params = {name: np.asarray(value, dtype=np.float64) for name, value in params.items()}
    source, inputs = np.asarray(source, dtype=np.int64), np.asarray(inputs, dtype=np.int64)
    _, context, encoder = lstm_forward(params["E"][source], lstm_part(params, "enc"), mask=source_mask)
    hs, _, decoder = lstm_forward(params["E"][inputs], lstm_part(params, "dec"), context)
    logits = hs @ params["W_out"].T + params["b_out"]
    return logits, (source, inputs, encoder, decoder, hs, params)
    ### END SOLUTION


def seq2seq_backward(dlogits, cache):
    """Backward through `seq2seq_forward`: from the output, through the decoder and the context, into the encoder.

    The gradient of the decoder's start state is the gradient at the encoder's last state: hand both parts, dh and dc,
    to `lstm_backward` as dlast. A row of E was used wherever its token stands, on both sides: its gradient is the sum
    over all these places, and a token that stands twice counts twice (np.add.at adds up repeated ids; E[ids] += ...
    does not).

    dlogits: (B, T, V).
    cache:   what `seq2seq_forward` returned second.
    Returns a dict with the eleven keys of the parameters, each gradient of the shape of its parameter.

    Example: for dlogits of zeros all gradients are zeros; the gradient of b_out is the sum of dlogits over B and T.
    """
    ### BEGIN SOLUTION
    source, inputs, encoder, decoder, hs, params = cache
    dlogits = np.asarray(dlogits, dtype=np.float64)
    grads = {"W_out": np.einsum("btv,bth->vh", dlogits, hs), "b_out": dlogits.sum(axis=(0, 1))}
    d_inputs, dcontext, decoder_grads = lstm_backward(dlogits @ params["W_out"], decoder)
    # Nobody looked at the encoder's states but at the last one.
    d_source, _, encoder_grads = lstm_backward(None, encoder, dcontext)
    for name in LSTM_NAMES:
        grads[f"dec_{name}"], grads[f"enc_{name}"] = decoder_grads[name], encoder_grads[name]
    grads["E"] = np.zeros_like(params["E"])
    np.add.at(grads["E"], inputs, d_inputs)
    np.add.at(grads["E"], source, d_source)
    return grads
    ### END SOLUTION


def greedy_decode(step, state, bos, eos, max_len):
    """Write an answer, token by token: always the most probable one.

    Feed bos first, then each token that was chosen, together with the state that the last step returned. Stop when eos
    is chosen, and in any case after max_len steps. Of equal logits the lower id wins. Do not call step more often than
    needed. (bos gets no special treatment when it is chosen: only eos ends an answer.)

    step:    a function: step(token, state) returns (logits, next_state), logits an array (V,).
    state:   the state before the first step, of any form.
    bos, eos: ids.
    max_len: the largest number of steps.
    Returns the answer, a list of ids, without the bos it began with and without eos.

    Example: a step that always says eos gives [], and one that never does gives max_len tokens.
    """
    ### BEGIN SOLUTION
    answer, token = [], bos
    for _ in range(max_len):
        logits, state = step(token, state)
        token = int(np.argmax(logits))
        if token == eos:
            break
        answer.append(token)
    return answer
    ### END SOLUTION


def beam_search(step, state, bos, eos, max_len, width):
    """Write the `width` most probable answers at once.

    A hypothesis is a list of tokens, its log-probability (the sum of the log-softmax of each chosen token, eos
    included), its own state, and whether it is finished (it has said eos). Begin with one: no tokens, log-probability
    0, not finished. Then at most max_len times, or until all are finished:

        - every unfinished hypothesis takes one step (fed its last token, or bos at first) and is continued by every
          token of the vocabulary; a continuation by eos is finished, and eos does not go into its tokens;
        - finished hypotheses stay as they are and compete with the new ones;
        - the `width` of the largest log-probability are kept.

    Scores are not divided by length. With width 1 this is greedy decoding. Logits may be in the thousands: nothing may
    overflow.

    step, state, bos, eos, max_len: as in `greedy_decode`; a state is never changed by step.
    width: how many hypotheses are kept.
    Returns a list of at most `width` tuples (tokens, log_prob), best first, tokens a list of ids, finished or not.

    Example: a step whose logits are always log([0.5, 0.3, 0.2]), with eos = 0 and max_len = 2, gives for width 2
             [([], log 0.5), ([1], log 0.15)].
    """
    ### BEGIN SOLUTION
    beam = [([], 0.0, state, False)]
    for _ in range(max_len):
        if all(finished for _, _, _, finished in beam):
            break
        candidates = []
        for tokens, score, before, finished in beam:
            if finished:
                candidates.append((tokens, score, before, True))
                continue
            logits, after = step(tokens[-1] if tokens else bos, before)
            logits = np.asarray(logits, dtype=np.float64)
            log_p = logits - logits.max()
            log_p = log_p - np.log(np.exp(log_p).sum())
            for token in range(len(log_p)):
                ends = token == eos
                grown = tokens if ends else [*tokens, token]
                candidates.append((grown, score + float(log_p[token]), after, ends))
        # Sorting keeps the order of equals, so the one found first wins.
        beam = sorted(candidates, key=lambda hypothesis: -hypothesis[1])[:width]
    return [(tokens, score) for tokens, score, _, _ in beam]
    ### END SOLUTION


def attention_context(query, keys, mask, params):
    """A context for every decoder step: additive attention (Bahdanau, 2015) over the encoder's states.

        score_s = v . tanh(W_q query + W_k keys_s)        weights = softmax over the real s
        context = sum over s of weights_s keys_s          the encoder's states are keys and values at once

    query:  the decoder's state, (B, H).
    keys:   the encoder's states, (B, S, K).
    mask:   (B, S), True on real tokens, at least one in every row; padding gets a weight of exactly 0.
    params: dict with W_q (A, H), W_k (A, K) and v (A,).
    Returns (context, weights, cache): arrays (B, K) and (B, S), and whatever `attention_context_backward` needs.

    Example: with v of zeros all scores are equal, and the context is the mean of the real keys.
    """
    ### BEGIN SOLUTION
    query, keys = np.asarray(query, dtype=np.float64), np.asarray(keys, dtype=np.float64)
    W_q, W_k, v = (np.asarray(params[name], dtype=np.float64) for name in ("W_q", "W_k", "v"))
    hidden = np.tanh((query @ W_q.T)[:, None, :] + keys @ W_k.T)
    scores = np.where(np.asarray(mask, dtype=bool), hidden @ v, -np.inf)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights = weights / weights.sum(axis=1, keepdims=True)
    context = np.einsum("bs,bsk->bk", weights, keys)
    return context, weights, (query, keys, hidden, weights, W_q, W_k, v)
    ### END SOLUTION


def attention_context_backward(dcontext, cache):
    """Backward through `attention_context`.

    The keys were used twice: as what is averaged, and in the scores. With p the weights and dp_s = dcontext . keys_s:

        dscores = p * (dp - sum over s of p dp)         the softmax; padding has p = 0 and so gets nothing
        dsum = dscores * v * (1 - hidden^2)             the gradient inside the tanh, (B, S, A)
        dquery = (sum over s of dsum) W_q               dkeys = p dcontext + dsum W_k

    dcontext: (B, K).
    cache:    what `attention_context` returned third.
    Returns (dquery, dkeys, grads): arrays (B, H) and (B, S, K), and a dict with the keys W_q, W_k and v.

    Example: with v of zeros, dquery is zero, and each real key gets dcontext divided by the number of real keys.
    """
    ### BEGIN SOLUTION
    query, keys, hidden, weights, W_q, W_k, v = cache
    dcontext = np.asarray(dcontext, dtype=np.float64)
    dweights = np.einsum("bk,bsk->bs", dcontext, keys)
    dscores = weights * (dweights - np.sum(weights * dweights, axis=1, keepdims=True))
    dsum = dscores[:, :, None] * v * (1.0 - hidden**2)
    to_query = dsum.sum(axis=1)
    dkeys = weights[:, :, None] * dcontext[:, None, :] + dsum @ W_k
    grads = {
        "W_q": to_query.T @ query,
        "W_k": np.einsum("bsa,bsk->ak", dsum, keys),
        "v": np.einsum("bs,bsa->a", dscores, hidden),
    }
    return to_query @ W_q, dkeys, grads
    ### END SOLUTION


def draw_sequences(rng, batch, n_digits, longest):
    """GIVEN: `batch` random sequences of 2 to `longest` digits, with the ids 3 ... 2 + n_digits."""
    lengths = rng.integers(2, longest + 1, size=batch)
    return [rng.integers(3, 3 + n_digits, size=length).tolist() for length in lengths]


def train(params, rng, n_steps, batch, n_digits, longest, lr):
    """Teach the model to reverse sequences.

    In step i = 0, 1, ..., n_steps - 1:
        - draw a batch: draw_sequences(rng, batch, n_digits, longest), the only draws that are made;
        - the source is these sequences, padded with PAD; the right answers are the same sequences reversed, made into
          inputs and targets by `decoder_pairs` with BOS, EOS and PAD;
        - forward, loss, backward;
        - one `adam_step` with the rate lr * min(1, 2 * (1 - i / n_steps)): constant for the first half, then falling.

    params: the model to start from, with V = 3 + n_digits rows in E; the caller keeps it as it is.
    Returns (params, losses): the new model, and a list of n_steps losses, each taken before its step.

    Example: with n_steps=0 it returns the parameters as they were and an empty list.
    """
    ### BEGIN SOLUTION
    params = {name: np.array(value, dtype=np.float64) for name, value in params.items()}
    losses, state = [], {}
    for i in range(n_steps):
        sequences = draw_sequences(rng, batch, n_digits, longest)
        source, source_mask = pad_sequences(sequences, PAD)
        inputs, targets, mask = decoder_pairs([sequence[::-1] for sequence in sequences], BOS, EOS, PAD)
        logits, cache = seq2seq_forward(source, source_mask, inputs, params)
        loss, dlogits = masked_cross_entropy(logits, targets, mask)
        losses.append(loss)
        grads = seq2seq_backward(dlogits, cache)
        params, state = adam_step(params, grads, state, lr * min(1.0, 2.0 * (1.0 - i / n_steps)))
    return params, losses
    ### END SOLUTION
