"""Loops over the places of the filter and over images and batches, lists for tables, no matrix of windows."""

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
    labels = rng.integers(0, 4, n)
    tops = rng.integers(0, size - 4, n)
    lefts = rng.integers(0, size - 4, n)
    images = noise * rng.standard_normal((n, size, size))
    for i in range(n):
        for r in range(5):
            for c in range(5):
                on = [r == 2, c == 2, r == c or r + c == 4, r in (0, 4) or c in (0, 4)][labels[i]]
                if on:
                    images[i, tops[i] + r, lefts[i] + c] += 1
    return (images, labels)


def split(labels, val_share, test_share, rng):
    sets = ([], [], [])
    labels = list(labels)
    for label in range(max(labels) + 1):
        members = [i for i, other in enumerate(labels) if other == label]
        order = rng.permutation(len(members))
        n_test, n_val = (round(test_share * len(members)), round(val_share * len(members)))
        for place, j in enumerate(order):
            sets[2 if place < n_test else 1 if place < n_test + n_val else 0].append(members[j])
    return [sorted(part) for part in sets]


def pixel_scale(images):
    x = np.array(images, dtype=float)
    mean = x.sum() / x.size
    std = np.sqrt(((x - mean) ** 2).sum() / x.size)
    return [mean, std if std else 1.0]


def normalize(images, scale):
    return np.stack([[(np.asarray(image, dtype=float) - scale[0]) / scale[1]] for image in images])


def one_hot(labels, n_classes):
    return [[1.0 if k == label else 0.0 for k in range(n_classes)] for label in labels]


def batches(n, batch_size, rng):
    order = list(rng.permutation(n))
    out = []
    while order:
        out.append(np.array(order[:batch_size]))
        order = order[batch_size:]
    return out


def shift(images, down, right):
    images = np.asarray(images, dtype=float)
    moved = np.zeros(images.shape)
    height = images.shape[1]
    width = images.shape[2]
    for row in range(height):
        if 0 <= row - down < height:
            for column in range(width):
                if 0 <= column - right < width:
                    moved[:, row, column] = images[:, row - down, column - right]
    return moved


def init_params(height, width, n_classes, rng, filters=(8, 16), kernel=3):
    first, second = filters
    features = second * (height // 4) * (width // 4)
    W1 = rng.normal(0.0, np.sqrt(2.0 / kernel ** 2), size=(first, 1, kernel, kernel))
    W2 = rng.normal(0.0, np.sqrt(2.0 / (first * kernel ** 2)), size=(second, first, kernel, kernel))
    W3 = rng.normal(0.0, np.sqrt(1.0 / features), size=(n_classes, features))
    return {'W1': W1, 'b1': np.zeros(first), 'W2': W2, 'b2': np.zeros(second), 'W3': W3, 'b3': np.zeros(n_classes)}


def conv_forward(x, W, b):
    x, W, b = (np.asarray(x, dtype=float), np.asarray(W, dtype=float), np.asarray(b, dtype=float))
    B, C, H, Wd = x.shape
    F, _, k, _ = W.shape
    p = k // 2
    padded = np.zeros((B, C, H + 2 * p, Wd + 2 * p))
    padded[:, :, p:p + H, p:p + Wd] = x
    out = np.zeros((F, B, H, Wd))
    for i in range(k):
        for j in range(k):
            out += np.tensordot(W[:, :, i, j], padded[:, :, i:i + H, j:j + Wd], axes=(1, 1))
    return (out.swapaxes(0, 1) + b.reshape(1, F, 1, 1), {'padded': padded, 'W': W, 'size': (H, Wd)})


def max_pool(x):
    x = np.asarray(x, dtype=float)
    h, w = (x.shape[2] // 2, x.shape[3] // 2)
    a, b = (x[:, :, 0:2 * h:2, 0:2 * w:2], x[:, :, 0:2 * h:2, 1:2 * w:2])
    c, d = (x[:, :, 1:2 * h:2, 0:2 * w:2], x[:, :, 1:2 * h:2, 1:2 * w:2])
    best = np.maximum(np.maximum(a, b), np.maximum(c, d))
    wins, taken = ([], np.zeros(best.shape, dtype=bool))
    for part in (a, b, c, d):
        wins.append((part == best) & ~taken)
        taken = taken | wins[-1]
    return (best, (wins, x.shape))


def mean_pool(x, size):
    x = np.asarray(x, dtype=float)
    h, w = (x.shape[2] // size, x.shape[3] // size)
    out = np.zeros(x.shape[:2] + (h, w))
    for i in range(size):
        for j in range(size):
            out += x[:, :, i:size * h:size, j:size * w:size]
    return (out / size / size, [x.shape, size])


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
    shifted = logits - np.max(logits, axis=1, keepdims=True)
    log_p = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    loss = -np.sum(targets * log_p) / len(logits)
    return (loss, (np.exp(log_p) - targets) / len(logits))


def conv_backward(dout, cache):
    dout = np.asarray(dout, dtype=float)
    padded, W = (cache['padded'], cache['W'])
    H, Wd = cache['size']
    k = W.shape[2]
    p = k // 2
    dpadded, dW = (np.zeros(padded.shape), np.zeros(W.shape))
    for i in range(k):
        for j in range(k):
            seen = padded[:, :, i:i + H, j:j + Wd]
            dW[:, :, i, j] = np.tensordot(dout, seen, axes=((0, 2, 3), (0, 2, 3)))
            dpadded[:, :, i:i + H, j:j + Wd] += np.tensordot(dout, W[:, :, i, j], axes=(1, 0)).transpose(0, 3, 1, 2)
    return [dpadded[:, :, p:p + H, p:p + Wd], dW, dout.sum((0, 2, 3))]


def max_pool_backward(dout, cache):
    wins, shape = cache
    dx = np.zeros(shape)
    h, w = (2 * (shape[2] // 2), 2 * (shape[3] // 2))
    dx[:, :, 0:h:2, 0:w:2] = dout * wins[0]
    dx[:, :, 0:h:2, 1:w:2] = dout * wins[1]
    dx[:, :, 1:h:2, 0:w:2] = dout * wins[2]
    dx[:, :, 1:h:2, 1:w:2] = dout * wins[3]
    return dx


def mean_pool_backward(dout, cache):
    shape, size = cache
    dx = np.zeros(shape)
    h, w = (shape[2] // size, shape[3] // size)
    for i in range(size):
        for j in range(size):
            dx[:, :, i:size * h:size, j:size * w:size] = np.asarray(dout) / (size * size)
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
    answers = []
    for start in range(0, len(images), 100):
        logits = forward(normalize(images[start:start + 100], scale), params)[0]
        answers += [int(np.argmax(row)) for row in logits]
    return answers


def train(images, labels, val_images, val_labels, rng, n_classes=10, filters=(8, 16), epochs=8, batch_size=50, lr=0.005, max_shift=1):
    images, labels = (np.asarray(images), np.asarray(labels))
    scale = pixel_scale(images)
    params = init_params(len(images[0]), len(images[0][0]), n_classes, rng, filters)
    memory, t = ({}, 0)
    steps = epochs * int(np.ceil(len(images) / batch_size))
    losses, rights, kept = ([], [], [])
    for _ in range(epochs):
        of_epoch = []
        for batch in batches(len(images), batch_size, rng):
            x = images[batch]
            if max_shift:
                move = rng.integers(-max_shift, max_shift + 1, size=2)
                x = shift(x, int(move[0]), int(move[1]))
            params, memory, loss = train_step(params, memory, normalize(x, scale), one_hot(labels[batch], n_classes), lr * np.cos(np.pi * t / steps / 2) ** 2)
            of_epoch += [loss] * len(batch)
            t += 1
        losses.append(sum(of_epoch) / len(of_epoch))
        said = predict(val_images, params, scale)
        rights.append(sum((int(a == b) for a, b in zip(said, val_labels))) / len(said))
        kept.append(params)
    best = max(range(epochs), key=lambda e: (rights[e], e))
    return (kept[best], scale, {'best_epoch': best, 'train_loss': losses, 'val_accuracy': rights})


def confusion_matrix(labels, predicted, n_classes):
    table = [[0] * n_classes for _ in range(n_classes)]
    for is_class, said in zip(labels, predicted):
        table[is_class][said] += 1
    return table


def per_class(table):
    k = len(table)
    recall, precision = ([], [])
    for i in range(k):
        row = sum(table[i])
        column = sum((table[j][i] for j in range(k)))
        recall.append(table[i][i] / row if row else 0.0)
        precision.append(table[i][i] / column if column else 0.0)
    total = sum((sum(row) for row in table))
    return {'precision': precision, 'recall': recall, 'accuracy': sum((table[i][i] for i in range(k))) / total}


def honest_report(histories):
    best = (-1.0, 0, 0)
    for run, history in enumerate(histories):
        for epoch, accuracy in enumerate(history['val_accuracy']):
            best = max(best, (accuracy, run, epoch))
    _, run, epoch = best
    return (run, epoch, float(histories[run]['test_accuracy'][epoch]))
