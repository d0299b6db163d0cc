"""The loss subtracts the maximum from the logits that it was handed."""

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
    labels = rng.integers(0, 4, size=n)
    tops = rng.integers(0, size - 4, size=n)
    lefts = rng.integers(0, size - 4, size=n)
    images = rng.normal(0.0, noise, size=(n, size, size))
    shapes = np.zeros((4, 5, 5))
    shapes[0, 2, :] = 1.0
    shapes[1, :, 2] = 1.0
    for i in range(5):
        shapes[2, i, i] = shapes[2, i, 4 - i] = 1.0
    shapes[3, [0, 4], :] = 1.0
    shapes[3, :, [0, 4]] = 1.0
    for image, label, top, left in zip(images, labels, tops, lefts, strict=True):
        image[top:top + 5, left:left + 5] += shapes[label]
    return (images, labels)


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
    images = np.asarray(images, dtype=np.float64)
    _, height, width = images.shape
    framed = np.pad(images, ((0, 0), (abs(down), abs(down)), (abs(right), abs(right))))
    top, left = (abs(down) - down, abs(right) - right)
    return framed[:, top:top + height, left:left + width].copy()


def init_params(height, width, n_classes, rng, filters=(8, 16), kernel=3):
    first, second = filters
    features = second * (height // 4) * (width // 4)
    W1 = rng.normal(0.0, np.sqrt(2.0 / kernel ** 2), size=(first, 1, kernel, kernel))
    W2 = rng.normal(0.0, np.sqrt(2.0 / (first * kernel ** 2)), size=(second, first, kernel, kernel))
    W3 = rng.normal(0.0, np.sqrt(1.0 / features), size=(n_classes, features))
    return {'W1': W1, 'b1': np.zeros(first), 'W2': W2, 'b2': np.zeros(second), 'W3': W3, 'b3': np.zeros(n_classes)}


def conv_forward(x, W, b):
    x, W, b = (np.asarray(a, dtype=np.float64) for a in (x, W, b))
    batch, channels, height, width = x.shape
    n_filters, _, k, _ = W.shape
    pad = k // 2
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), axis=(2, 3))
    columns = windows.transpose(1, 4, 5, 0, 2, 3).reshape(channels * k * k, -1)
    out = W.reshape(n_filters, -1) @ columns + b[:, None]
    out = out.reshape(n_filters, batch, height, width).transpose(1, 0, 2, 3)
    return (out, (columns, W, x.shape))


def max_pool(x):
    x = np.asarray(x, dtype=np.float64)
    height, width = (x.shape[2] // 2 * 2, x.shape[3] // 2 * 2)
    four = np.stack([x[:, :, i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)])
    return (np.max(four, axis=0), (np.argmax(four, axis=0), x.shape))


def mean_pool(x, size):
    x = np.asarray(x, dtype=np.float64)
    batch, channels, height, width = x.shape
    rows, columns = (height // size, width // size)
    used = x[:, :, :rows * size, :columns * size]
    out = np.mean(used.reshape(batch, channels, rows, size, columns, size), axis=(3, 5))
    return (out, (x.shape, size))


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
    logits, targets = (np.asarray(logits, dtype=np.float64), np.asarray(targets, dtype=np.float64))
    logits -= np.max(logits, axis=1, keepdims=True)
    shifted = logits
    log_p = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    loss = -np.sum(targets * log_p) / len(logits)
    return (loss, (np.exp(log_p) - targets) / len(logits))


def conv_backward(dout, cache):
    columns, W, (batch, channels, height, width) = cache
    n_filters, _, k, _ = W.shape
    pad = k // 2
    by_filter = np.asarray(dout, dtype=np.float64).transpose(1, 0, 2, 3).reshape(n_filters, -1)
    dW = (by_filter @ columns.T).reshape(W.shape)
    dcolumns = (W.reshape(n_filters, -1).T @ by_filter).reshape(channels, k, k, batch, height, width)
    dpadded = np.zeros((channels, batch, height + 2 * pad, width + 2 * pad))
    for p in range(k):
        for q in range(k):
            dpadded[:, :, p:p + height, q:q + width] += dcolumns[:, p, q]
    dx = dpadded[:, :, pad:pad + height, pad:pad + width].transpose(1, 0, 2, 3)
    return (dx, dW, np.sum(by_filter, axis=1))


def max_pool_backward(dout, cache):
    winner, shape = cache
    dout = np.asarray(dout, dtype=np.float64)
    height, width = (shape[2] // 2 * 2, shape[3] // 2 * 2)
    dx = np.zeros(shape)
    for place in range(4):
        dx[:, :, place // 2:height:2, place % 2:width:2] = np.where(winner == place, dout, 0.0)
    return dx


def mean_pool_backward(dout, cache):
    shape, size = cache
    share = np.asarray(dout, dtype=np.float64) / size ** 2
    spread = np.repeat(np.repeat(share, size, axis=2), size, axis=3)
    dx = np.zeros(shape)
    dx[:, :, :spread.shape[2], :spread.shape[3]] = spread
    return dx


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
    table = np.zeros((n_classes, n_classes))
    np.add.at(table, (np.asarray(labels, dtype=np.int64), np.asarray(predicted, dtype=np.int64)), 1.0)
    return table


def per_class(table):
    table = np.asarray(table, dtype=np.float64)
    right = np.diag(table)
    are, said = (np.sum(table, axis=1), np.sum(table, axis=0))
    return {'accuracy': float(np.sum(right) / np.sum(table)), 'recall': right / np.where(are > 0, are, 1.0), 'precision': right / np.where(said > 0, said, 1.0)}


def honest_report(histories):
    best = (-1.0, 0, 0)
    for run, history in enumerate(histories):
        for epoch, accuracy in enumerate(history['val_accuracy']):
            best = max(best, (accuracy, run, epoch))
    _, run, epoch = best
    return (run, epoch, float(histories[run]['test_accuracy'][epoch]))
