"""Wrong: the cache of the latest forward pass stands in a global, and backward uses that one."""

import math

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
    longest = max(map(len, sequences))
    ids = [list(s) + [pad] * (longest - len(s)) for s in sequences]
    return ids, [[t < len(s) for t in range(longest)] for s in sequences]


def decoder_pairs(sequences, bos, eos, pad):
    longest = 1 + max(map(len, sequences))
    inputs, targets, mask = [], [], []
    for s in sequences:
        empty = longest - len(s) - 1
        inputs.append([bos] + list(s) + [pad] * empty)
        targets.append(list(s) + [eos] + [pad] * empty)
        mask.append([True] * (len(s) + 1) + [False] * empty)
    return inputs, targets, mask


def masked_cross_entropy(logits, targets, mask):
    logits = np.array(logits, dtype=float)
    grad = np.zeros(logits.shape)
    count, total = 0, 0.0
    for b, t in np.ndindex(logits.shape[:2]):
        if not mask[b][t]:
            continue
        count += 1
        row = logits[b, t]
        exps = np.exp(row - max(row))
        target = int(targets[b][t])
        total += math.log(exps.sum()) + max(row) - row[target]
        grad[b, t] = exps / exps.sum()
        grad[b, t, target] -= 1.0
    return total / count, grad / count


def look_up(E, ids):
    E = np.array(E, dtype=float)
    return np.array([[E[int(i)] for i in row] for row in ids])


LATEST = {}


def seq2seq_forward(source, source_mask, inputs, params):
    cache = {"source": source, "inputs": inputs, "E": params["E"], "W_out": np.array(params["W_out"], dtype=float)}
    x = look_up(params["E"], source)
    _, (h, c), cache["encoder"] = lstm_forward(x, lstm_part(params, "enc"), None, source_mask)
    hs, _, cache["decoder"] = lstm_forward(look_up(params["E"], inputs), lstm_part(params, "dec"), (h, c))
    cache["hs"] = hs
    LATEST.update(cache)
    return hs @ cache["W_out"].T + params["b_out"], LATEST


def seq2seq_backward(dlogits, cache):
    d = np.array(dlogits, dtype=float)
    W = cache["W_out"]
    dW, db, dhs = np.zeros(W.shape), np.zeros(len(W)), np.zeros(cache["hs"].shape)
    for b, t in np.ndindex(d.shape[:2]):
        dW += np.outer(d[b, t], cache["hs"][b, t])
        db += d[b, t]
        dhs[b, t] = W.T @ d[b, t]
    dx_dec, state, dec = lstm_backward(dhs, cache["decoder"])
    dx_enc, _, enc = lstm_backward(None, cache["encoder"], state)
    dE = np.zeros(np.shape(cache["E"]))
    for ids, dx in ((cache["source"], dx_enc), (cache["inputs"], dx_dec)):
        for b, row in enumerate(ids):
            for t, i in enumerate(row):
                dE[int(i)] += dx[b, t]
    grads = {"b_out": db, "W_out": dW, "E": dE}
    for name in LSTM_NAMES:
        grads["dec_" + name] = dec[name]
        grads["enc_" + name] = enc[name]
    return grads


def greedy_decode(step, state, bos, eos, max_len):
    answer = []
    token = bos
    while len(answer) < max_len:
        logits, state = step(token, state)
        logits = list(logits)
        token = logits.index(max(logits))
        if token == eos:
            return answer
        answer.append(token)
    return answer


def beam_search(step, state, bos, eos, max_len, width):
    live, done = [(0.0, (), state)], []
    for _ in range(max_len):
        if not live:
            break
        new = [(score, tokens, None) for score, tokens in done]
        for score, tokens, before in live:
            logits, after = step(tokens[-1] if len(tokens) else bos, before)
            logits = [float(v) for v in logits]
            top = max(logits)
            norm = top + math.log(sum(math.exp(v - top) for v in logits))
            for token, value in enumerate(logits):
                if token == eos:
                    new.append((score + value - norm, tokens, None))
                else:
                    new.append((score + value - norm, (*tokens, token), (after,)))
        new.sort(key=lambda item: item[0], reverse=True)
        del new[width:]
        live = [(score, tokens, kept[0]) for score, tokens, kept in new if kept is not None]
        done = [(score, tokens) for score, tokens, kept in new if kept is None]
    both = done + [(score, tokens) for score, tokens, _ in live]
    return [(list(tokens), score) for score, tokens in sorted(both, key=lambda item: -item[0])]


def attention_context(query, keys, mask, params):
    query, keys = np.array(query, dtype=float), np.array(keys, dtype=float)
    p = {name: np.array(value, dtype=float) for name, value in params.items()}
    weights, contexts = np.zeros(keys.shape[:2]), []
    hidden = np.zeros((*keys.shape[:2], len(p["v"])))
    for b in range(len(query)):
        scores = {}
        for s in range(keys.shape[1]):
            hidden[b, s] = np.tanh(p["W_q"] @ query[b] + p["W_k"] @ keys[b, s])
            if mask[b][s]:
                scores[s] = float(p["v"] @ hidden[b, s])
        top = max(scores.values())
        total = sum(math.exp(v - top) for v in scores.values())
        for s, v in scores.items():
            weights[b, s] = math.exp(v - top) / total
        contexts.append(sum(weights[b, s] * keys[b, s] for s in range(keys.shape[1])))
    return contexts, weights, {"q": query, "k": keys, "w": weights, "hidden": hidden, "p": p}


def attention_context_backward(dcontext, cache):
    q, k, w, hidden, p = (cache[name] for name in ("q", "k", "w", "hidden", "p"))
    dq, dk = np.zeros(q.shape), np.zeros(k.shape)
    grads = {name: np.zeros(value.shape) for name, value in p.items()}
    for b in range(len(q)):
        d = np.array(dcontext[b], dtype=float)
        dp = [float(d @ key) for key in k[b]]
        mean = sum(x * y for x, y in zip(w[b], dp, strict=True))
        for s in range(k.shape[1]):
            dscore = w[b, s] * (dp[s] - mean)
            inside = dscore * p["v"] * (1 - hidden[b, s] ** 2)
            grads["v"] += dscore * hidden[b, s]
            grads["W_q"] += np.outer(inside, q[b])
            grads["W_k"] += np.outer(inside, k[b, s])
            dq[b] += p["W_q"].T @ inside
            dk[b, s] = w[b, s] * d + p["W_k"].T @ inside
    return dq, dk, grads


def train(params, rng, n_steps, batch, n_digits, longest, lr):
    losses, state = [], {}
    params = {name: np.array(value, dtype=float) for name, value in params.items()}
    for i in range(n_steps):
        drawn = draw_sequences(rng, batch, n_digits, longest)
        source, source_mask = pad_sequences(drawn, PAD)
        inputs, targets, mask = decoder_pairs([list(reversed(s)) for s in drawn], BOS, EOS, PAD)
        logits, cache = seq2seq_forward(source, source_mask, inputs, params)
        loss, dlogits = masked_cross_entropy(logits, targets, mask)
        rate = lr if 2 * i < n_steps else 2 * lr * (1 - i / n_steps)
        params, state = adam_step(params, seq2seq_backward(dlogits, cache), state, rate)
        losses.append(loss)
    return params, losses
