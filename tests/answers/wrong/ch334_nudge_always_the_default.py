"""Wrong: gradient_errors does not use its argument h."""

import numpy as np

THETA_MAX = 4.0 * np.pi
EPS = 1e-05
MOMENTUM = 0.1


def adam_step(params, grads, optimizer, lr):
    t = optimizer.get("t", 0) + 1
    new, m, v = ({}, {}, {})
    for name, w in params.items():
        m[name] = 0.9 * optimizer.get("m", {}).get(name, 0.0) + 0.1 * grads[name]
        v[name] = 0.999 * optimizer.get("v", {}).get(name, 0.0) + 0.001 * grads[name] ** 2
        new[name] = w - lr * (m[name] / (1 - 0.9**t)) / (np.sqrt(v[name] / (1 - 0.999**t)) + 1e-08)
    return (new, {"t": t, "m": m, "v": v})


def make_spirals(n, noise, rng):
    theta = np.linspace(0.0, THETA_MAX, n)
    radius = 0.1 + 0.9 * theta / THETA_MAX
    arms = []
    for arm in (0, 1):
        angle = theta + np.pi * arm
        arms.append(np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1))
    X = np.concatenate(arms) + rng.normal(0.0, noise, size=(2 * n, 2))
    return (X, np.repeat(np.array([0, 1]), n))


def split_indices(n, n_val, n_test, rng):
    order = rng.permutation(n)
    test, val, train = (order[:n_test], order[n_test : n_test + n_val], order[n_test + n_val :])
    return (train, val, test)


def init_net(widths, rng):
    depth = len(widths) - 1
    params, state = ({}, {})
    for layer in range(1, depth + 1):
        fan_in, width = (widths[layer - 1], widths[layer])
        params[f"W{layer}"] = rng.normal(0.0, np.sqrt(2.0 / fan_in), size=(width, fan_in))
        if layer < depth:
            params[f"gamma{layer}"], params[f"beta{layer}"] = (np.ones(width), np.zeros(width))
            state[f"mean{layer}"], state[f"var{layer}"] = (np.zeros(width), np.ones(width))
        else:
            params[f"b{layer}"] = np.zeros(width)
    return (params, state)


def dropout_mask(shape, p, rng):
    kept = rng.random(shape) >= p
    return kept / (1.0 - p)


def block_forward(a, W, gamma, beta, mean, var, training, mask=None):
    a, W, gamma, beta, mean, var = (np.asarray(x, dtype=np.float64) for x in (a, W, gamma, beta, mean, var))
    z = a @ W.T
    if training:
        m, v = (np.mean(z, axis=0), np.var(z, axis=0))
        batch = len(z)
        mean = (1.0 - MOMENTUM) * mean + MOMENTUM * m
        var = (1.0 - MOMENTUM) * var + MOMENTUM * v * batch / (batch - 1)
    else:
        m, v = (mean, var)
    inverse_std = 1.0 / np.sqrt(v + EPS)
    z_hat = (z - m) * inverse_std
    u = gamma * z_hat + beta
    out = np.maximum(u, 0.0)
    if mask is not None:
        out = out * mask
    return (out, (a, W, gamma, z_hat, inverse_std, u, mask), mean.copy(), var.copy())


def forward(X, params, state, training, rng=None, p=0.0):
    a = np.asarray(X, dtype=np.float64)
    depth = sum(name.startswith("W") for name in params)
    caches, new_state = ([], {})
    for layer in range(1, depth):
        W, gamma, beta = (params[f"{name}{layer}"] for name in ("W", "gamma", "beta"))
        mean, var = (state[f"mean{layer}"], state[f"var{layer}"])
        mask = dropout_mask((len(a), len(W)), p, rng) if training and p > 0 else None
        a, cache, mean, var = block_forward(a, W, gamma, beta, mean, var, training, mask)
        caches.append(cache)
        new_state[f"mean{layer}"], new_state[f"var{layer}"] = (mean, var)
    W = np.asarray(params[f"W{depth}"], dtype=np.float64)
    logits = a @ W.T + np.asarray(params[f"b{depth}"], dtype=np.float64)
    return (logits, (caches, a, W), new_state)


def block_backward(dout, cache):
    a, W, gamma, z_hat, inverse_std, u, mask = cache
    du = np.asarray(dout, dtype=np.float64) * (u > 0)
    if mask is not None:
        du = du * mask
    dgamma, dbeta = (np.sum(du * z_hat, axis=0), np.sum(du, axis=0))
    g = du * gamma
    dz = (g - np.mean(g, axis=0) - z_hat * np.mean(g * z_hat, axis=0)) * inverse_std
    return (dz @ W, dz.T @ a, dgamma, dbeta)


def backward(dout, cache):
    caches, a, W = cache
    dout = np.asarray(dout, dtype=np.float64)
    depth = len(caches) + 1
    grads = {f"W{depth}": dout.T @ a, f"b{depth}": np.sum(dout, axis=0)}
    da = dout @ W
    for layer in range(depth - 1, 0, -1):
        da, dW, dgamma, dbeta = block_backward(da, caches[layer - 1])
        grads[f"W{layer}"], grads[f"gamma{layer}"], grads[f"beta{layer}"] = (dW, dgamma, dbeta)
    return grads


def bce(logits, y):
    z = np.asarray(logits, dtype=np.float64)
    y = np.asarray(y, dtype=np.float64).reshape(z.shape)
    losses = y * np.logaddexp(0.0, -z) + (1.0 - y) * np.logaddexp(0.0, z)
    return (np.mean(losses), (np.exp(-np.logaddexp(0.0, -z)) - y) / len(z))


def gradient_errors(loss_and_grads, params, h=1e-05):
    params = {name: np.array(value, dtype=np.float64) for name, value in params.items()}
    h = 1e-05
    _, grads = loss_and_grads(params)
    errors = {}
    for name, value in params.items():
        numerical = np.zeros_like(value)
        for index in np.ndindex(value.shape):
            losses = []
            for step in (h, -h):
                nudged = value.copy()
                nudged[index] += step
                losses.append(loss_and_grads({**params, name: nudged})[0])
            numerical[index] = (losses[0] - losses[1]) / (2.0 * h)
        scale = max(np.max(np.abs(numerical)), 1e-08)
        errors[name] = float(np.max(np.abs(np.asarray(grads[name]) - numerical)) / scale)
    return errors


def train_step(params, state, optimizer, X, y, lr, rng=None, p=0.0):
    params = {name: np.asarray(value, dtype=np.float64) for name, value in params.items()}
    logits, cache, state = forward(X, params, state, True, rng, p)
    loss, dlogits = bce(logits, y)
    params, optimizer = adam_step(params, backward(dlogits, cache), optimizer, lr)
    return (params, state, optimizer, loss)


def train(X, y, X_val, y_val, rng, widths=(2, 64, 64, 1), epochs=300, batch_size=50, lr=0.01, p=0.0, patience=100):
    X, y = (np.asarray(X, dtype=np.float64), np.asarray(y))
    params, state = init_net(widths, rng)
    optimizer, t = ({}, 0)
    n = len(X)
    total = epochs * -(-n // batch_size)
    history = {"train_loss": [], "val_loss": [], "best_epoch": 0}
    best = (np.inf, params, state)
    for epoch in range(epochs):
        order = rng.permutation(n)
        summed = 0.0
        for start in range(0, n, batch_size):
            batch = order[start : start + batch_size]
            rate = lr * (1.0 + np.cos(np.pi * t / total)) / 2.0
            params, state, optimizer, loss = train_step(params, state, optimizer, X[batch], y[batch], rate, rng, p)
            summed += loss * len(batch)
            t += 1
        history["train_loss"].append(float(summed / n))
        val_loss = float(bce(forward(X_val, params, state, False)[0], y_val)[0])
        history["val_loss"].append(val_loss)
        if val_loss < best[0]:
            best = (val_loss, params, state)
            history["best_epoch"] = epoch
        elif epoch - history["best_epoch"] >= patience:
            break
    return (best[1], best[2], history)


def predict_proba(X, params, state):
    logits, _, _ = forward(X, params, state, False)
    return np.exp(-np.logaddexp(0.0, -logits[:, 0]))


def accuracy(X, y, params, state):
    said = predict_proba(X, params, state) > 0.5
    return float(np.mean(said == (np.asarray(y) > 0.5)))


def decision_grid(params, state, low, high, resolution):
    axis = np.linspace(low, high, resolution)
    x, y = np.meshgrid(axis, axis)
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    return (axis, predict_proba(points, params, state).reshape(resolution, resolution))


def main():
    rng = np.random.default_rng(334)
    X, y = make_spirals(450, 0.03, rng)
    train_set, val, test = split_indices(len(X), 200, 200, rng)
    small, state = init_net((2, 4, 3, 1), rng)

    def loss_and_grads(params):
        logits, cache, _ = forward(X[:7], params, state, True)
        loss, dlogits = bce(logits, y[:7] * 0 + [1, 0, 0, 1, 1, 0, 1])
        return (loss, backward(dlogits, cache))

    print("gradient check, largest error:", max(gradient_errors(loss_and_grads, small).values()))
    params, state, history = train(X[train_set], y[train_set], X[val], y[val], rng)
    for epoch in range(0, len(history["train_loss"]), 20):
        print(f"epoch {epoch:3}: train {history['train_loss'][epoch]:.4f}  val {history['val_loss'][epoch]:.4f}")
    print("best epoch:", history["best_epoch"])
    print(f"accuracy on {len(test)} test points: {accuracy(X[test], y[test], params, state):.3f}")


if __name__ == "__main__":
    main()
