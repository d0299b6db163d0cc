"""Right, with plain Python loops and lists: window by window, number by number."""


def listed(x):
    return x.tolist() if hasattr(x, "tolist") else x


def starts(length, size, stride):
    return list(range(0, length - size + 1, size if stride is None else stride))


def pool_windows(x, size, stride=None):
    return [
        [
            [
                [
                    [channel[top + u][left + v] for u in range(size) for v in range(size)]
                    for left in starts(len(channel[0]), size, stride)
                ]
                for top in starts(len(channel), size, stride)
            ]
            for channel in image
        ]
        for image in listed(x)
    ]


def each(windows, function):
    return [[[[function(w) for w in row] for row in channel] for channel in image] for image in windows]


def max_pool_forward(x, size, stride=None):
    def largest(window):
        best = window[0]
        for number in window:
            if number > best:
                best = number
        return best

    return each(pool_windows(x, size, stride), largest), {"x": listed(x), "size": size, "stride": stride}


def zeros_like(x):
    return [zeros_like(inner) for inner in x] if isinstance(x, list) else 0.0


def go_back(dout, x, size, stride, shares):
    dout, dx = listed(dout), zeros_like(x)
    for image, dimage, gimage in zip(x, dx, dout, strict=True):
        for channel, dchannel, gchannel in zip(image, dimage, gimage, strict=True):
            for i, top in enumerate(starts(len(channel), size, stride)):
                for j, left in enumerate(starts(len(channel[0]), size, stride)):
                    window = [channel[top + u][left + v] for u in range(size) for v in range(size)]
                    for place, share in enumerate(shares(window)):
                        dchannel[top + place // size][left + place % size] += share * gchannel[i][j]
    return dx


def max_pool_backward(dout, cache):
    def shares(window):
        best = window.index(max(window))
        return [1.0 if place == best else 0.0 for place in range(len(window))]

    return go_back(dout, cache["x"], cache["size"], cache["stride"], shares)


def avg_pool_forward(x, size, stride=None):
    return each(pool_windows(x, size, stride), lambda w: sum(w) / len(w)), (listed(x), size, stride)


def avg_pool_backward(dout, cache):
    return go_back(dout, *cache, lambda window: [1 / len(window)] * len(window))


def global_avg_pool_forward(x):
    x = listed(x)
    out = [[sum(map(sum, channel)) / (len(channel) * len(channel[0])) for channel in image] for image in x]
    return out, (len(x[0][0]), len(x[0][0][0]))


def global_avg_pool_backward(dout, cache):
    rows, columns = cache
    return [[[[g / rows / columns] * columns for _ in range(rows)] for g in image] for image in listed(dout)]


def receptive_fields(layers):
    """By following one unit and its neighbour back to the pixels that they see."""
    answer = []
    for depth in range(1, len(layers) + 1):
        ends = []
        for unit in (0, 1):
            first = last = unit
            for kernel, stride, *more in reversed(layers[:depth]):
                first, last = first * stride, last * stride + (kernel - 1) * (more[0] if more else 1)
            ends.append((first, last))
        answer.append([ends[0][1] - ends[0][0] + 1, ends[1][0] - ends[0][0]])
    return answer


def shift_change(features, x, down, right):
    import numpy as np

    x = np.array(x, float)
    moved = np.zeros(x.shape)
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            if 0 <= i + down < x.shape[2] and 0 <= j + right < x.shape[3]:
                moved[:, :, i + down, j + right] = x[:, :, i, j]
    after, before = np.ravel(features(moved)), np.ravel(features(x))
    return float(sum((a - b) ** 2 for a, b in zip(after, before, strict=True)) / sum(b * b for b in before)) ** 0.5
