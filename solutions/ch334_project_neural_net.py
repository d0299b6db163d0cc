"""Chapter 334: Project: Neural Net from Scratch (NumPy only)

The two spirals of chapter 300, which no linear model can tell apart, and everything it takes to tell them apart: data,
split, a network with batch normalisation and dropout, its exact gradients and their proof, Adam, early stopping, and an
honest evaluation. At the end your network is right on more than 97 of 100 points that it has never seen. (With this
noise the best possible classifier reaches 99.9 %. Nearest neighbours do well too: the point is not that only a network
can do it, it is that you have built all of it.)

The network has hidden blocks and a linear output; block l = 1, ..., L-1 is

    z = a @ Wl.T         u = batch norm of z, times gammal, plus betal         r = max(u, 0)         a = r * mask

and the last layer is logits = a @ WL.T + bL. A hidden layer needs no bias: the normalisation would take it out again,
and beta does its work.

Conventions, here and in every chapter:
  - the batch is the first axis; weights are (out, in); labels are (B,), 0 or 1; the network's logits are (B, 1);
  - params is a dict W1 (n1, n0), gamma1 (n1,), beta1 (n1,), W2, gamma2, beta2, ..., WL (nL, n(L-1)), bL (nL,). The
    gradients are a dict with THE SAME keys. state is a dict mean1, var1, mean2, var2, ...: the running statistics;
  - the loss is a mean over the batch, and its 1/B enters once, in the gradient at the logits;
  - random numbers come from the rng that is handed in, in the order that is stated; functions work in float64, accept
    lists, and never modify what they are given.

Run `dlgrade check ch334` as often as you like; `dlgrade hint ch334 block_backward` helps you on. Every stage has its
own points: an unfinished training loop does not cost the forward pass. `python ch334_project_neural_net.py` trains it.
"""

import numpy as np

THETA_MAX = 4.0 * np.pi
EPS = 1e-5
MOMENTUM = 0.1


def adam_step(params, grads, optimizer, lr):
    """Given: one step of Adam, chapter 312's. The optimizer is {} at first. Returns (params, optimizer), both new."""
    t = optimizer.get("t", 0) + 1
    new, m, v = {}, {}, {}
    for name, w in params.items():
        m[name] = 0.9 * optimizer.get("m", {}).get(name, 0.0) + 0.1 * grads[name]
        v[name] = 0.999 * optimizer.get("v", {}).get(name, 0.0) + 0.001 * grads[name] ** 2
        new[name] = w - lr * (m[name] / (1 - 0.9**t)) / (np.sqrt(v[name] / (1 - 0.999**t)) + 1e-8)
    return new, {"t": t, "m": m, "v": v}


# --- Stage 1: data ----------------------------------------------------------------------------------------------------


def make_spirals(n, noise, rng):
    """The data set: n points of each of two spiral arms.

    On each arm theta takes n evenly spaced values from 0 to THETA_MAX, both included. A point of arm 0 or 1 is

        r = 0.1 + 0.9 * theta / THETA_MAX         angle = theta + pi * arm         (r cos(angle), r sin(angle))

    The radius comes from theta alone. If it came from the turned angle, both arms would lie on one and the same curve.
    To all points one draw is added: rng.normal(0.0, noise, size=(2 * n, 2)); noise is the standard deviation itself.

    n, noise: points an arm, a whole number, and the standard deviation of each coordinate.
    Returns (X, y): points (2n, 2) and whole numbers (2n,): first the n points of arm 0, then those of arm 1.

    Example: make_spirals(2, 0.0, rng) gives, to rounding, X = [[0.1, 0], [1, 0], [-0.1, 0], [-1, 0]] and
             y = [0, 0, 1, 1].
    """
    ### BEGIN SOLUTION
    theta = np.linspace(0.0, THETA_MAX, n)
    radius = 0.1 + 0.9 * theta / THETA_MAX
    arms = []
    for arm in (0, 1):
        # Only the angle is turned; the radius stays that of theta.
        angle = theta + np.pi * arm
        arms.append(np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1))
    X = np.concatenate(arms) + rng.normal(0.0, noise, size=(2 * n, 2))
    return X, np.repeat(np.array([0, 1]), n)
    ### END SOLUTION


def split_indices(n, n_val, n_test, rng):
    """Which samples train, which choose the best epoch, and which are kept for the very end.

    One draw, order = rng.permutation(n): its first n_test entries are the test set, the next n_val the validation set,
    and all others the training set. Every sample is in exactly one of them.

    n, n_val, n_test: whole numbers; n_val and n_test may be 0.
    Returns (train, val, test): three arrays of indices, (n - n_val - n_test,), (n_val,) and (n_test,).

    Example: if the permutation is [3, 0, 2, 1], split_indices(4, 1, 1, rng) gives ([2, 1], [0], [3]).
    """
    ### BEGIN SOLUTION
    order = rng.permutation(n)
    test, val, train = order[:n_test], order[n_test : n_test + n_val], order[n_test + n_val :]
    return train, val, test
    ### END SOLUTION


# --- Stage 2: the network, forward ------------------------------------------------------------------------------------


def init_net(widths, rng):
    """Parameters and running statistics of a new network.

    W1, W2, ..., WL are drawn in this order, Wl = rng.normal(0.0, sqrt(2 / n(l-1)), size=(nl, n(l-1))): He's
    initialisation. Every gamma is ones and every beta zeros, bL is zeros, running means are zeros and running variances
    ones. The last layer has no gamma, beta, mean or var, and the others have no b.

    widths: (n0, n1, ..., nL), for example (2, 64, 64, 1); two numbers are allowed and mean no hidden block.
    Returns (params, state): two dicts, with the keys and shapes stated at the top.

    Example: init_net((2, 3, 1), rng) has the params W1 (3, 2), gamma1 (3,), beta1 (3,), W2 (1, 3), b2 (1,), and the
             state mean1 (3,), var1 (3,).
    """
    ### BEGIN SOLUTION
    depth = len(widths) - 1
    params, state = {}, {}
    for layer in range(1, depth + 1):
        fan_in, width = widths[layer - 1], widths[layer]
        params[f"W{layer}"] = rng.normal(0.0, np.sqrt(2.0 / fan_in), size=(width, fan_in))
        if layer < depth:
            params[f"gamma{layer}"], params[f"beta{layer}"] = np.ones(width), np.zeros(width)
            state[f"mean{layer}"], state[f"var{layer}"] = np.zeros(width), np.ones(width)
        else:
            params[f"b{layer}"] = np.zeros(width)
    return params, state
    ### END SOLUTION


def dropout_mask(shape, p, rng):
    """What a block's output is multiplied with in training: 0 where a unit is dropped, 1 / (1 - p) where it is kept.

    One draw, rng.random(shape): a unit is kept where the number is p or more. The factor keeps the mean what it was, so
    that nothing needs to be changed in evaluation.

    shape: for example (B, n). p: the probability of DROPPING, from 0 to below 1.
    Returns an array of that shape.

    Example: for p = 0.75, where rng.random gives [0.2, 0.8, 0.75], the mask is [0.0, 4.0, 4.0].
    """
    ### BEGIN SOLUTION
    kept = rng.random(shape) >= p
    return kept / (1.0 - p)
    ### END SOLUTION


def block_forward(a, W, gamma, beta, mean, var, training, mask=None):
    """One hidden block: linear, batch normalisation, ReLU, dropout; in this order.

        z = a @ W.T                      (B, out)
        z_hat = (z - m) / sqrt(v + EPS)          u = gamma * z_hat + beta          out = max(u, 0) * mask

    In training m and v are the mean and the variance of this batch, over its first axis, the variance divided by B. The
    running statistics move a tenth (MOMENTUM) of the way towards the batch's; the variance that enters is the unbiased
    one, divided by B - 1:

        mean <- 0.9 * mean + 0.1 * m             var <- 0.9 * var + 0.1 * v * B / (B - 1)

    In evaluation m and v are the running statistics; they come back as they are.

    a:         what comes in, (B, in); in training B is at least 2.
    W:         (out, in). gamma, beta, mean, var: (out,).
    training:  True or False.
    mask:      None, which means that nothing is dropped, or an array (B, out) as `dropout_mask` makes it.
    Returns (out, cache, mean, var): the output (B, out); whatever your `block_backward` wants to find again; and the
    two running statistics after this batch, as new arrays (out,).

    Example: block_forward([[1.0], [3.0]], [[2.0]], [1.0], [0.0], [0.0], [1.0], True) has z = [[2], [6]], so m = 4 and
             v = 4; out is [[0], [1]] to about five digits, mean is [0.4], and var is 0.9 + 0.1 * 8 = [1.7].
    """
    ### BEGIN SOLUTION
    a, W, gamma, beta, mean, var = (np.asarray(x, dtype=np.float64) for x in (a, W, gamma, beta, mean, var))
    z = a @ W.T
    if training:
        m, v = np.mean(z, axis=0), np.var(z, axis=0)
        batch = len(z)
        mean = (1.0 - MOMENTUM) * mean + MOMENTUM * m
        var = (1.0 - MOMENTUM) * var + MOMENTUM * v * batch / (batch - 1)
    else:
        m, v = mean, var
    inverse_std = 1.0 / np.sqrt(v + EPS)
    z_hat = (z - m) * inverse_std
    u = gamma * z_hat + beta
    out = np.maximum(u, 0.0)
    if mask is not None:
        out = out * mask
    # The input of THIS block is kept: its weights' gradient needs it.
    return out, (a, W, gamma, z_hat, inverse_std, u, mask), mean.copy(), var.copy()
    ### END SOLUTION


def forward(X, params, state, training, rng=None, p=0.0):
    """The network's logits: all hidden blocks, then the linear output layer.

    In training with p > 0 every block gets a mask of its own, of the shape of its output: dropout_mask(shape, p, rng),
    drawn block by block, first block first. Otherwise nothing is drawn and nothing is dropped. The output layer is
    never normalised or dropped.

    X:      inputs, (B, n0). params, state: as at the top, for any number of layers from 1 on.
    training, p: True or False, and the probability of dropping a unit.
    Returns (logits, cache, state): an array (B, nL); whatever your `backward` wants to find again; and a NEW state dict
    with the same keys: after training the running statistics have moved, after evaluation they are what they were.

    Example: with widths (2, 1), W1 = [[1, 2]] and b1 = [3], forward([[1.0, 1.0]], params, {}, True) has the logits
             [[6.0]] and the state {}.
    """
    ### BEGIN SOLUTION
    a = np.asarray(X, dtype=np.float64)
    depth = sum(name.startswith("W") for name in params)
    caches, new_state = [], {}
    for layer in range(1, depth):
        W, gamma, beta = (params[f"{name}{layer}"] for name in ("W", "gamma", "beta"))
        mean, var = state[f"mean{layer}"], state[f"var{layer}"]
        # A training pass and an evaluation pass differ in two things only: whose statistics, and the mask.
        mask = dropout_mask((len(a), len(W)), p, rng) if training and p > 0 else None
        a, cache, mean, var = block_forward(a, W, gamma, beta, mean, var, training, mask)
        caches.append(cache)
        new_state[f"mean{layer}"], new_state[f"var{layer}"] = mean, var
    W = np.asarray(params[f"W{depth}"], dtype=np.float64)
    logits = a @ W.T + np.asarray(params[f"b{depth}"], dtype=np.float64)
    return logits, (caches, a, W), new_state
    ### END SOLUTION


# --- Stage 3: backward, and its proof ---------------------------------------------------------------------------------


def block_backward(dout, cache):
    """Backward through `block_forward` after a TRAINING pass.

    The way back passes the four parts in the other order: the same mask again, the ReLU (slope 1 where u > 0, else 0),
    the normalisation, the linear map. Mean and variance depend on z, so with g the gradient at z_hat, and means over
    the batch:

        dz = (g - mean(g) - z_hat * mean(g * z_hat)) / sqrt(v + EPS)

    The gradients of W, gamma and beta are sums over the batch; nothing is divided by B here.

    dout:  gradient at out, (B, out). cache: what `block_forward` returned second; it stays as it is.
    Returns (da, dW, dgamma, dbeta), with the shapes of a, W, gamma and beta.

    Example: where u is negative for every sample of the batch, dbeta is 0, and so are dgamma and the row of dW.
    """
    ### BEGIN SOLUTION
    a, W, gamma, z_hat, inverse_std, u, mask = cache
    du = np.asarray(dout, dtype=np.float64) * (u > 0)
    if mask is not None:
        du = du * mask
    dgamma, dbeta = np.sum(du * z_hat, axis=0), np.sum(du, axis=0)
    g = du * gamma
    # Moving all samples of a unit alike, or stretching them, changes nothing after the normalisation: these two
    # directions are taken out of the gradient.
    dz = (g - np.mean(g, axis=0) - z_hat * np.mean(g * z_hat, axis=0)) * inverse_std
    return dz @ W, dz.T @ a, dgamma, dbeta
    ### END SOLUTION


def backward(dout, cache):
    """Gradients of all parameters after a TRAINING pass of `forward`: the output layer first, the first block last.

    dout:  gradient at the logits, (B, nL), any numbers. cache: what `forward` returned second; it stays as it is.
    Returns grads: a dict with exactly the keys and shapes of params. (Not "dW1": Adam looks for "W1".)

    Example: for the network in `forward`, without hidden blocks, dout = [[1.0]] gives W1 = [[1.0, 1.0]], b1 = [1.0].
    """
    ### BEGIN SOLUTION
    caches, a, W = cache
    dout = np.asarray(dout, dtype=np.float64)
    depth = len(caches) + 1
    # The output layer's input is the OUTPUT of the last block, not what went into that block.
    grads = {f"W{depth}": dout.T @ a, f"b{depth}": np.sum(dout, axis=0)}
    da = dout @ W
    for layer in range(depth - 1, 0, -1):
        da, dW, dgamma, dbeta = block_backward(da, caches[layer - 1])
        grads[f"W{layer}"], grads[f"gamma{layer}"], grads[f"beta{layer}"] = dW, dgamma, dbeta
    return grads
    ### END SOLUTION


def bce(logits, y):
    """The mean binary cross-entropy, and its gradient at the logits. With p = sigmoid(logit):

        loss = mean over the batch of  -(y log p + (1 - y) log(1 - p))          dlogits = (p - y) / B

    Be exact for logits of 10,000: -log p = np.logaddexp(0, -z) and -log(1 - p) = np.logaddexp(0, z), and
    p = np.exp(-np.logaddexp(0, -z)). Mind the shapes: (B, 1) minus (B,) is (B, B).

    logits: (B, 1). y: 0 or 1, (B,).
    Returns (loss, dlogits): a number, and an array (B, 1).

    Example: bce([[0.0], [0.0]], [1, 0]) gives (log 2, [[-0.25], [0.25]]).
    """
    ### BEGIN SOLUTION
    z = np.asarray(logits, dtype=np.float64)
    y = np.asarray(y, dtype=np.float64).reshape(z.shape)
    losses = y * np.logaddexp(0.0, -z) + (1.0 - y) * np.logaddexp(0.0, z)
    return np.mean(losses), (np.exp(-np.logaddexp(0.0, -z)) - y) / len(z)
    ### END SOLUTION


def gradient_errors(loss_and_grads, params, h=1e-5):
    """Proof of gradients: how far each parameter's is from central differences.

    For every entry of every parameter, nudged up and down by h with all others as they were:

        numerical = (loss up - loss down) / (2 h)

    and for every parameter, with the maximum over all its entries:

        error = max |grad - numerical| / max(max |numerical|, 1e-8)

    loss_and_grads: a function of a params dict, returning (loss, grads): a number, and a dict with the same keys.
    params: a dict of arrays, (4, 3) for example. It and its arrays are left exactly as they are.
    Returns a dict with the keys of params: one error, a number, each.

    Example: for loss_and_grads = lambda p: (3 * p["w"][0], {"w": np.array([4.0])}) and params {"w": [2.0]} the error is
             1/3: {"w": 0.3333...}.
    """
    ### BEGIN SOLUTION
    params = {name: np.array(value, dtype=np.float64) for name, value in params.items()}
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
        scale = max(np.max(np.abs(numerical)), 1e-8)
        errors[name] = float(np.max(np.abs(np.asarray(grads[name]) - numerical)) / scale)
    return errors
    ### END SOLUTION


# --- Stage 4: training ------------------------------------------------------------------------------------------------


def train_step(params, state, optimizer, X, y, lr, rng=None, p=0.0):
    """One step on one batch: forward in training, loss, backward, Adam. All parameters are Adam's, gamma and beta too.

    params, state: as at the top. optimizer: Adam's memory, {} before the first step.
    X, y:  the batch, (B, n0) and (B,). lr: the learning rate, a number. rng, p: for `forward`.
    Returns (params, state, optimizer, loss): new dicts, and the loss of this batch BEFORE the step, a number.

    Example: with widths (1, 1), W1 = [[0]], b1 = [0], X = [[2.0]], y = [1] and lr = 0.1 the loss is log 2, and to seven
             digits W1 becomes [[0.1]] and b1 [0.1]: Adam's first step has the length lr.
    """
    ### BEGIN SOLUTION
    params = {name: np.asarray(value, dtype=np.float64) for name, value in params.items()}
    logits, cache, state = forward(X, params, state, True, rng, p)
    loss, dlogits = bce(logits, y)
    params, optimizer = adam_step(params, backward(dlogits, cache), optimizer, lr)
    return params, state, optimizer, loss
    ### END SOLUTION


def train(X, y, X_val, y_val, rng, widths=(2, 64, 64, 1), epochs=300, batch_size=50, lr=0.01, p=0.0, patience=100):
    """A whole training run, with early stopping: keep the network of the epoch with the lowest validation loss.

    First init_net(widths, rng). Then each epoch e = 0, 1, ...:
      - order = rng.permutation(N); its consecutive pieces of batch_size are the batches. The last may be shorter, and
        is used too. One `train_step` each, with the learning rate lr * (1 + cos(pi * t / T)) / 2, where t = 0, 1, ...
        counts the steps of the whole run, and T = epochs * (batches an epoch) is their planned number. One Adam memory
        serves the whole run;
      - train_loss of this epoch: the mean loss of its samples, that is of its batches, each weighted by its size;
      - val_loss of this epoch: `bce` of X_val in EVALUATION. It changes neither the parameters nor the state;
      - if val_loss is lower than ever before, this epoch is the best so far: remember its params and state. If it is
        not, and the best epoch lies `patience` epochs back, stop: no further epoch.

    The validation set only chooses the epoch. No gradient and no running statistic ever sees it.

    X, y:         training samples, (N, n0) and (N,). X_val, y_val: validation samples, (M, n0) and (M,).
    other:        the network's widths, the run's length, and p, the probability of dropping a unit. N is no multiple of
                  batch_size plus 1, so no batch has a single sample.
    Returns (params, state, history): those of the best epoch, and a dict with "train_loss" and "val_loss", a number for
    each epoch that was run, and "best_epoch", counted from 0.

    Example: with epochs=1 both lists have one number and best_epoch is 0.

    With 500 points of `make_spirals` and the defaults it must reach more than 97 % on points it has never seen, within
    15 seconds of CPU time. The defaults do; you may choose others for widths, epochs, batch_size, lr, p and patience.
    Do not wonder that the training loss stays above the validation loss: in training each batch of 50 normalises with a
    mean and a variance of its own, and that noise costs. Dropout is off in the run: for a small network
    and little noise it costs more than it gives.
    """
    ### BEGIN SOLUTION
    X, y = np.asarray(X, dtype=np.float64), np.asarray(y)
    params, state = init_net(widths, rng)
    optimizer, t = {}, 0
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
        # The state that this forward pass returns is not kept, and in evaluation it is the old one anyway.
        val_loss = float(bce(forward(X_val, params, state, False)[0], y_val)[0])
        history["val_loss"].append(val_loss)
        if val_loss < best[0]:
            # Every step makes new dicts and arrays, so remembering them is enough: nothing will change them.
            best = (val_loss, params, state)
            history["best_epoch"] = epoch
        elif epoch - history["best_epoch"] >= patience:
            break
    return best[1], best[2], history
    ### END SOLUTION


# --- Stage 5: evaluation ----------------------------------------------------------------------------------------------


def predict_proba(X, params, state):
    """The probability of arm 1 for every point, in evaluation: a point's answer does not depend on its neighbours.

    X: (B, n0), also B = 1. params, state: as at the top; nL is 1.
    Returns an array (B,), sigmoid of the logits, free of overflow.

    Example: for a network whose logits are [[0.0], [-10000.0]] it is [0.5, 0.0].
    """
    ### BEGIN SOLUTION
    logits, _, _ = forward(X, params, state, False)
    return np.exp(-np.logaddexp(0.0, -logits[:, 0]))
    ### END SOLUTION


def accuracy(X, y, params, state):
    """The share of points whose label the network gets right; it says 1 where the probability is above one half.

    X: (B, n0). y: labels, (B,).
    Returns a number from 0 to 1.

    Example: with probabilities [0.9, 0.5, 0.2] and labels [1, 1, 0] it is 2/3: one half is not above one half.
    """
    ### BEGIN SOLUTION
    said = predict_proba(X, params, state) > 0.5
    return float(np.mean(said == (np.asarray(y) > 0.5)))
    ### END SOLUTION


def decision_grid(params, state, low, high, resolution):
    """The network's probabilities on a square grid, to draw its boundary.

    The axis has `resolution` evenly spaced values from low to high, both included.

    low, high, resolution: two numbers and a whole number R.
    Returns (axis, values): (R,) and (R, R); values[i, j] belongs to the point (x, y) = (axis[j], axis[i]), so that a
    row of values is a horizontal line of the picture.

    Example: decision_grid(params, state, -1.0, 1.0, 3) has the axis [-1, 0, 1], and values[0, 2] is that of (1, -1).
    """
    ### BEGIN SOLUTION
    axis = np.linspace(low, high, resolution)
    x, y = np.meshgrid(axis, axis)
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    return axis, predict_proba(points, params, state).reshape(resolution, resolution)
    ### END SOLUTION


def main():
    """Given: the whole project in one run: data, gradient check, training, and the test set, looked at once."""
    rng = np.random.default_rng(334)
    X, y = make_spirals(450, 0.03, rng)
    train_set, val, test = split_indices(len(X), 200, 200, rng)

    small, state = init_net((2, 4, 3, 1), rng)

    def loss_and_grads(params):
        logits, cache, _ = forward(X[:7], params, state, True)
        loss, dlogits = bce(logits, y[:7] * 0 + [1, 0, 0, 1, 1, 0, 1])
        return loss, backward(dlogits, cache)

    print("gradient check, largest error:", max(gradient_errors(loss_and_grads, small).values()))
    params, state, history = train(X[train_set], y[train_set], X[val], y[val], rng)
    for epoch in range(0, len(history["train_loss"]), 20):
        print(f"epoch {epoch:3}: train {history['train_loss'][epoch]:.4f}  val {history['val_loss'][epoch]:.4f}")
    print("best epoch:", history["best_epoch"])
    print(f"accuracy on {len(test)} test points: {accuracy(X[test], y[test], params, state):.3f}")


if __name__ == "__main__":
    main()
