"""Wrong: attention clears the padded keys in the caller's array."""

import heapq
from itertools import zip_longest

import numpy as np

# The ids of the three special tokens in the task of reversal; its digits have the ids 3 and up.
BOS, EOS, PAD = 0, 1, 2
LSTM_NAMES = ("W_ih", "W_hh", "b_ih", "b_hh")


def lstm_forward(x, params, state=None, mask=None):
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
    return {name: params[f"{side}_{name}"] for name in LSTM_NAMES}


def adam_step(params, grads, state, lr):
    t = state.get("t", 0) + 1
    m = {name: 0.9 * state.get("m", {}).get(name, 0.0) + 0.1 * grads[name] for name in params}
    v = {name: 0.999 * state.get("v", {}).get(name, 0.0) + 0.001 * grads[name] ** 2 for name in params}
    new = {}
    for name in params:
        m_hat, v_hat = m[name] / (1.0 - 0.9**t), v[name] / (1.0 - 0.999**t)
        new[name] = np.asarray(params[name], dtype=np.float64) - lr * m_hat / (np.sqrt(v_hat) + 1e-8)
    return new, {"t": t, "m": m, "v": v}


def draw_sequences(rng, batch, n_digits, longest):
    lengths = rng.integers(2, longest + 1, size=batch)
    return [rng.integers(3, 3 + n_digits, size=length).tolist() for length in lengths]


def pad_sequences(sequences, pad):
    nothing = object()
    columns = list(zip_longest(*sequences, fillvalue=nothing))
    mask = np.array([[token is not nothing for token in column] for column in columns]).T
    return np.array([[token if token is not nothing else pad for token in column] for column in columns]).T, mask


def decoder_pairs(sequences, bos, eos, pad):
    targets, mask = pad_sequences([[*list(s), eos] for s in sequences], pad)
    inputs = np.roll(targets, 1, axis=1)
    inputs[:, 0] = bos
    # What was rolled behind the end of an answer is its eos: padding there.
    inputs[~mask] = pad
    return inputs, targets, mask


def masked_cross_entropy(logits, targets, mask):
    z, m = np.asarray(logits, float), np.asarray(mask, bool)
    rows, picked = z[m], np.asarray(targets)[m].astype(int)
    lse = np.logaddexp.reduce(rows, axis=1)
    n = len(rows)
    d = np.zeros_like(z)
    p = np.exp(rows - lse[:, None])
    p[np.arange(n), picked] -= 1
    d[m] = p / n
    return np.mean(lse - rows[np.arange(n), picked]), d


def hot(ids, n):
    return np.eye(n)[np.asarray(ids, int)]


def seq2seq_forward(source, source_mask, inputs, params):
    E, W = np.asarray(params["E"], float), np.asarray(params["W_out"], float)
    src, fed = hot(source, len(E)), hot(inputs, len(E))
    enc = lstm_forward(np.einsum("bsv,ve->bse", src, E), lstm_part(params, "enc"), mask=source_mask)
    dec = lstm_forward(np.einsum("btv,ve->bte", fed, E), lstm_part(params, "dec"), state=enc[1])
    return np.einsum("bth,vh->btv", dec[0], W) + np.asarray(params["b_out"], float), [src, fed, enc, dec, W]


def seq2seq_backward(dlogits, cache):
    src, fed, enc, dec, W = cache
    d = np.asarray(dlogits, float)
    d_fed, context, g_dec = lstm_backward(np.einsum("btv,vh->bth", d, W), dec[2])
    d_src, _, g_enc = lstm_backward(np.zeros_like(enc[0]), enc[2], context)
    return {
        **{"enc_" + n: g for n, g in g_enc.items()},
        **{"dec_" + n: g for n, g in g_dec.items()},
        "E": np.einsum("bsv,bse->ve", src, d_src) + np.einsum("btv,bte->ve", fed, d_fed),
        "W_out": np.einsum("btv,bth->vh", d, dec[0]),
        "b_out": np.einsum("btv->v", d),
    }


def greedy_decode(step, state, bos, eos, max_len):
    found = [bos]
    for _ in range(max_len):
        logits, state = step(found[-1], state)
        best = int(np.flatnonzero(np.asarray(logits) == np.max(logits))[0])
        if best == eos:
            break
        found.append(best)
    return found[1:]


def beam_search(step, state, bos, eos, max_len, width):
    class Hypothesis:
        def __init__(self, tokens, score, state, finished=False):
            self.tokens, self.score, self.state, self.finished = tokens, score, state, finished

        def children(self):
            if self.finished:
                return [self]
            logits, after = step(([bos, *self.tokens])[-1], self.state)
            log_p = logits - np.logaddexp.reduce(logits)
            return [
                Hypothesis(self.tokens + [k] * (k != eos), self.score + v, after, k == eos)
                for k, v in enumerate(log_p.tolist())
            ]

    beam = [Hypothesis([], 0.0, state)]
    while max_len > 0 and not all(h.finished for h in beam):
        beam = heapq.nlargest(width, [child for h in beam for child in h.children()], key=lambda h: h.score)
        max_len -= 1
    return [[h.tokens, h.score] for h in beam]


def attention_context(query, keys, mask, params):
    q, k = np.asarray(query, float), np.asarray(keys, float)
    k[~np.asarray(mask, bool)] = 0.0
    W_q, W_k, v = (np.asarray(params[n], float) for n in ("W_q", "W_k", "v"))
    t = np.tanh(np.einsum("ah,bh->ba", W_q, q)[:, None] + np.einsum("ak,bsk->bsa", W_k, k))
    s = np.where(mask, np.einsum("bsa,a->bs", t, v), -np.inf)
    w = np.exp(s - np.logaddexp.reduce(s, axis=1)[:, None])
    return np.einsum("bs,bsk->bk", w, k), w, (q, k, t, w, W_q, W_k, v)


def attention_context_backward(dcontext, cache):
    q, k, t, w, W_q, W_k, v = cache
    d = np.asarray(dcontext, float)
    J = np.einsum("bs,sr->bsr", w, np.eye(w.shape[1])) - np.einsum("bs,br->bsr", w, w)
    ds = np.einsum("bsr,br->bs", J, np.einsum("bk,brk->br", d, k))
    dt = np.einsum("bs,a,bsa->bsa", ds, v, 1 - t**2)
    return (
        np.einsum("bsa,ah->bh", dt, W_q),
        np.einsum("bs,bk->bsk", w, d) + np.einsum("bsa,ak->bsk", dt, W_k),
        {
            "v": np.einsum("bs,bsa->a", ds, t),
            "W_k": np.einsum("bsa,bsk->ak", dt, k),
            "W_q": np.einsum("bsa,bh->ah", dt, q),
        },
    )


def train(params, rng, n_steps, batch, n_digits, longest, lr):
    losses, state = [], {}
    for i in range(n_steps):
        drawn = draw_sequences(rng, batch, n_digits, longest)
        inputs, targets, mask = decoder_pairs([s[::-1] for s in drawn], BOS, EOS, PAD)
        logits, cache = seq2seq_forward(*pad_sequences(drawn, PAD), inputs, params)
        loss, dlogits = masked_cross_entropy(logits, targets, mask)
        losses.append(loss)
        params, state = adam_step(params, seq2seq_backward(dlogits, cache), state, lr * min(1, 2 - 2 * i / n_steps))
    return params, np.array(losses)
