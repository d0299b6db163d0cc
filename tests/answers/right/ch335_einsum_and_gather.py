"""Windows and einsum, index arrays for the poolings, logsumexp, and a network written out as one function."""

import numpy as np


def adam_step(params, grads, optimizer, lr):
    t = optimizer.get('t', 0) + 1
    new, m, v = ({}, {}, {})
    for name, w in params.items():
        m[name] = 0.9 * optimizer.get('m', {}).get(name, 0.0) + 0.1 * grads[name]
        v[name] = 0.999 * optimizer.get('v', {}).get(name, 0.0) + 0.001 * grads[name] ** 2
        new[name] = w - lr * (m[name] / (1 - 0.9 ** t)) / (np.sqrt(v[name] / (1 - 0.999 ** t)) + 1e-08)
    return (new, {'t': t, 'm': m, 'v': v})


def make_shapes(n, size, noise, rng):
    labels, tops, lefts = (rng.integers(0, high, size=n) for high in (4, size - 4, size - 4))
    images = rng.normal(0.0, noise, size=(n, size, size))
    r, c = np.mgrid[0:size, 0:size][:, None] - np.stack([tops, lefts])[:, :, None, None]
    inside = (r >= 0) & (r < 5) & (c >= 0) & (c < 5)
    masks = np.stack([r == 2, c == 2, (r == c) | (r + c == 4), (r % 4 == 0) | (c % 4 == 0)])
    return (images + (inside & masks[labels, np.arange(n)]), labels)


def split(labels, val_share, test_share, rng):
    labels = np.asarray(labels)
    train, val, test = ([], [], [])
    for label in range(int(np.max(labels)) + 1):
        members = rng.permutation(np.flatnonzero(labels == label))
        n_test, n_val = (round(test_share * len(members)), round(val_share * len(members)))
        test.append(members[:n_test])
        val.append(members[n_test:n_test + n_val])
        train.append(members[n_test + n_val:])
    return tuple((np.sort(np.concatenate(part)) for part in (train, val, test)))


def pixel_scale(images):
    pixels = np.asarray(images, dtype=np.float64)
    mean, std = (np.mean(pixels), np.std(pixels))
    return (float(mean), float(std) if std > 0 else 1.0)


def normalize(images, scale):
    mean, std = scale
    return (np.asarray(images, dtype=np.float64)[:, None] - mean) / std


def one_hot(labels, n_classes):
    return np.eye(n_classes)[np.asarray(labels, dtype=np.int64)]


def batches(n, batch_size, rng):
    order = rng.permutation(n)
    return [order[start:start + batch_size] for start in range(0, n, batch_size)]


def shift(images, down, right):
    x = np.asarray(images, dtype=np.float64)
    rows, columns = (np.arange(x.shape[1]) - down, np.arange(x.shape[2]) - right)
    ok = ((rows >= 0) & (rows < x.shape[1]))[:, None] & ((columns >= 0) & (columns < x.shape[2]))
    return np.where(ok, x[:, rows % x.shape[1]][:, :, columns % x.shape[2]], 0.0)


def init_params(height, width, n_classes, rng, filters=(8, 16), kernel=3):
    first, second = filters
    features = second * (height // 4) * (width // 4)
    W1 = rng.normal(0.0, np.sqrt(2.0 / kernel ** 2), size=(first, 1, kernel, kernel))
    W2 = rng.normal(0.0, np.sqrt(2.0 / (first * kernel ** 2)), size=(second, first, kernel, kernel))
    W3 = rng.normal(0.0, np.sqrt(1.0 / features), size=(n_classes, features))
    return {'W1': W1, 'b1': np.zeros(first), 'W2': W2, 'b2': np.zeros(second), 'W3': W3, 'b3': np.zeros(n_classes)}


def conv_forward(x, W, b):
    x, W, b = (np.asarray(x, np.float64), np.asarray(W, np.float64), np.asarray(b, np.float64))
    p = W.shape[2] // 2
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, [(0, 0), (0, 0), (p, p), (p, p)]), W.shape[2:], axis=(2, 3))
    return (np.einsum('bchwpq,fcpq->bfhw', windows, W, optimize=True) + b[:, None, None], (windows, W))


def max_pool(x):
    x = np.asarray(x, np.float64)
    B, C, H, Wd = x.shape
    cut = x[:, :, :H // 2 * 2, :Wd // 2 * 2].reshape(B, C, H // 2, 2, Wd // 2, 2).swapaxes(3, 4)
    flat = cut.reshape(B, C, H // 2, Wd // 2, 4)
    winner = flat.argmax(-1)
    return (np.take_along_axis(flat, winner[..., None], -1)[..., 0], {'winner': winner, 'shape': x.shape})


def mean_pool(x, size):
    x = np.asarray(x, np.float64)
    h, w = (x.shape[2] // size, x.shape[3] // size)
    down = np.kron(np.eye(h), np.ones((1, size))) / size
    right = np.kron(np.eye(w), np.ones((1, size))) / size
    return (np.einsum('ih,bchw,jw->bcij', down, x[:, :, :h * size, :w * size], right, optimize=True), (x.shape, down, right))


def forward(x, params):
    z1, conv1 = conv_forward(x, params['W1'], params['b1'])
    p1, pool1 = max_pool(np.maximum(z1, 0.0))
    z2, conv2 = conv_forward(p1, params['W2'], params['b2'])
    p2, pool2 = mean_pool(np.maximum(z2, 0.0), 2)
    features = p2.reshape(len(p2), -1)
    W3 = np.asarray(params['W3'], dtype=np.float64)
    logits = features @ W3.T + np.asarray(params['b3'], dtype=np.float64)
    return (logits, (z1, conv1, pool1, z2, conv2, pool2, p2.shape, features, W3))


def cross_entropy(logits, targets):
    z, targets = (np.asarray(logits, np.float64), np.asarray(targets, np.float64))
    lse = np.logaddexp.reduce(z, axis=1, keepdims=True)
    return (float(np.mean(np.sum(targets * (lse - z), axis=1))), (np.exp(z - lse) - targets) / z.shape[0])


def conv_backward(dout, cache):
    windows, W = cache
    dout = np.asarray(dout, np.float64)
    p = W.shape[2] // 2
    dW = np.einsum('bfhw,bchwpq->fcpq', dout, windows, optimize=True)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(dout, [(0, 0), (0, 0), (p, p), (p, p)]), W.shape[2:], axis=(2, 3))
    dx = np.einsum('bfhwpq,fcpq->bchw', around, W[:, :, ::-1, ::-1], optimize=True)
    return (dx, dW, np.einsum('bfhw->f', dout))


def max_pool_backward(dout, cache):
    dx = np.zeros(cache['shape'])
    n, c, i, j = np.indices(cache['winner'].shape)
    dx[n, c, 2 * i + cache['winner'] // 2, 2 * j + cache['winner'] % 2] = dout
    return dx


def mean_pool_backward(dout, cache):
    shape, down, right = cache
    inner = np.einsum('ih,bcij,jw->bchw', down, np.asarray(dout, np.float64), right, optimize=True)
    return np.pad(inner, [(0, 0), (0, 0), (0, shape[2] - inner.shape[2]), (0, shape[3] - inner.shape[3])])


def backward(dlogits, cache):
    z1, conv1, pool1, z2, conv2, pool2, shape, features, W3 = cache
    dlogits = np.asarray(dlogits, dtype=np.float64)
    grads = {'W3': dlogits.T @ features, 'b3': np.sum(dlogits, axis=0)}
    dp2 = (dlogits @ W3).reshape(shape)
    dz2 = mean_pool_backward(dp2, pool2) * (z2 > 0)
    dp1, grads['W2'], grads['b2'] = conv_backward(dz2, conv2)
    dz1 = max_pool_backward(dp1, pool1) * (z1 > 0)
    _, grads['W1'], grads['b1'] = conv_backward(dz1, conv1)
    return grads


def wrong_gradients(loss_and_grads, params, h=1e-05, tolerance=1e-06):
    params = {name: np.array(value, dtype=np.float64) for name, value in params.items()}
    _, grads = loss_and_grads(params)
    wrong = {}
    for name, value in params.items():
        numerical = np.zeros_like(value)
        for index in np.ndindex(value.shape):
            losses = []
            for step in (h, -h):
                nudged = value.copy()
                nudged[index] += step
                losses.append(loss_and_grads({**params, name: nudged})[0])
            numerical[index] = (losses[0] - losses[1]) / (2.0 * h)
        allowed = tolerance * max(1.0, np.max(np.abs(numerical)))
        wrong[name] = int(np.sum(np.abs(np.asarray(grads[name]) - numerical) > allowed))
    return wrong


def train_step(params, optimizer, x, targets, lr):
    params = {name: np.asarray(value, dtype=np.float64) for name, value in params.items()}
    logits, cache = forward(x, params)
    loss, dlogits = cross_entropy(logits, targets)
    params, optimizer = adam_step(params, backward(dlogits, cache), optimizer, lr)
    return (params, optimizer, loss)


def predict(images, params, scale):
    images = np.asarray(images)
    said = []
    for start in range(0, len(images), 200):
        logits, _ = forward(normalize(images[start:start + 200], scale), params)
        said.append(np.argmax(logits, axis=1))
    return np.concatenate(said)


def train(images, labels, val_images, val_labels, rng, n_classes=10, filters=(8, 16), epochs=8, batch_size=50, lr=0.005, max_shift=1):
    images, targets = (np.asarray(images), one_hot(labels, n_classes))
    scale = pixel_scale(images)
    n, height, width = images.shape
    params, optimizer = (init_params(height, width, n_classes, rng, filters), {})
    total, t = (epochs * -(-n // batch_size), 0)
    history = {'train_loss': [], 'val_accuracy': [], 'best_epoch': 0}
    best, chosen = (-1.0, params)
    for epoch in range(epochs):
        summed = 0.0
        for batch in batches(n, batch_size, rng):
            seen = images[batch]
            if max_shift > 0:
                down, right = rng.integers(-max_shift, max_shift + 1, size=2)
                seen = shift(seen, down, right)
            rate = lr * (1.0 + np.cos(np.pi * t / total)) / 2.0
            params, optimizer, loss = train_step(params, optimizer, normalize(seen, scale), targets[batch], rate)
            summed += loss * len(batch)
            t += 1
        history['train_loss'].append(float(summed / n))
        accuracy = float(np.mean(predict(val_images, params, scale) == np.asarray(val_labels)))
        history['val_accuracy'].append(accuracy)
        if accuracy >= best:
            best, chosen, history['best_epoch'] = (accuracy, params, epoch)
    return (chosen, scale, history)


def confusion_matrix(labels, predicted, n_classes):
    return np.array(one_hot(labels, n_classes)).T @ np.array(one_hot(predicted, n_classes))


def per_class(table):
    table = np.asarray(table, dtype=np.float64)
    right = np.diag(table)
    are, said = (np.sum(table, axis=1), np.sum(table, axis=0))
    return {'accuracy': float(np.sum(right) / np.sum(table)), 'recall': right / np.where(are > 0, are, 1.0), 'precision': right / np.where(said > 0, said, 1.0)}


def honest_report(histories):
    every = [(v, r, e) for r, h in enumerate(histories) for e, v in enumerate(h['val_accuracy'])]
    _, r, e = sorted(every)[-1]
    return [r, e, histories[r]['test_accuracy'][e]]
