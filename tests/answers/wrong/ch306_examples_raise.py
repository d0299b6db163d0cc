"""Wrong: backward and output_loss take arrays only, and fail on the lists of their own examples."""
import numpy as np


def activate(z, name):
    z = np.asarray(z, dtype=np.float64)
    if name == "relu":
        return np.maximum(z, 0.0)
    if name == "sigmoid":
        return np.exp(-np.logaddexp(0.0, -z))
    return np.tanh(z)


def activation_slope(z, name):
    z = np.array(z, float)
    if name == "relu":
        return np.heaviside(z, 0.0)
    if name == "sigmoid":
        return activate(z, "sigmoid") * activate(-z, "sigmoid")
    return (1 - np.tanh(z)) * (1 + np.tanh(z))


def layer_backward(dz, a_prev, W):
    dz, a_prev, W = (np.array(m, float) for m in (dz, a_prev, W))
    return np.einsum("bi,ij->bj", dz, W), np.einsum("bi,bj->ij", dz, a_prev), np.einsum("bi->i", dz)


def forward(X, params, hidden="relu"):
    L = max(int(k[1:]) for k in params)
    a = np.array(X, float)
    tape = []
    slope = None
    for n in range(1, L + 1):
        M = np.concatenate([np.array(params["W%d" % n], float), np.array(params["b%d" % n], float)[:, None]], axis=1)
        a1 = np.concatenate([a, np.ones((len(a), 1))], axis=1)
        tape.append({"in": a1, "M": M, "slope": slope})
        z = np.einsum("bj,ij->bi", a1, M)
        slope = activation_slope(z, hidden)
        a = activate(z, hidden)
    return z, tape


def backward(dout, cache):
    d = dout.astype(float)
    grads = {}
    for n in range(len(cache), 0, -1):
        rec = cache[n - 1]
        dM = np.tensordot(d, rec["in"], (0, 0))
        grads["W%d" % n], grads["b%d" % n] = dM[:, :-1], dM[:, -1]
        d = (d @ rec["M"])[:, :-1]
        if rec["slope"] is not None:
            d = d * rec["slope"]
    return grads, d


def output_loss(logits, y, head):
    z = logits.astype(float)
    if head == "bce":
        z = np.concatenate([np.zeros_like(z), z], axis=1)
        loss, d = output_loss(z, np.ravel(y).astype(int), "ce")
        return loss, d[:, 1:]
    t = np.eye(z.shape[1])[np.array(y, int)]
    m = z.max(1, keepdims=True)
    lse = np.log(np.exp(z - m).sum(1, keepdims=True))
    lp = z - m - lse
    return np.float64(-(lp * t).sum(1).mean()), (np.exp(lp) - t) / z.shape[0]


def numerical_gradient(f, x, h=1e-5):
    x = np.asarray(x)
    x = x.astype(float)
    g = np.zeros(x.shape)
    it = np.nditer(x, flags=["multi_index"])
    for _ in it:
        i = it.multi_index
        up, dn = x.copy(), x.copy()
        up[i] += h
        dn[i] -= h
        g[i] = f(up) / (2 * h) - f(dn) / (2 * h)
    return g


def train(params, X, y, lr, steps, hidden="relu", head="ce"):
    p = {k: np.array(v, float) for k, v in params.items()}
    hist = []
    for _ in range(steps):
        out, tape = forward(X, p, hidden)
        l, d = output_loss(out, y, head)
        hist.append(l)
        g, _ = backward(d, tape)
        for k in p:
            p[k] -= lr * g[k]
    return p, hist
