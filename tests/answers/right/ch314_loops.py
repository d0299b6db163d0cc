"""Right, with plain Python loops and lists: one window, one pixel, one number at a time."""

import math

SOBEL_X = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]


def listed(x):
    return x.tolist() if hasattr(x, "tolist") else x


def conv_output_size(size, kernel, stride=1, padding=0, dilation=1):
    starts = [
        start for start in range(0, size + 2 * padding, stride) if start + dilation * (kernel - 1) < size + 2 * padding
    ]
    if not starts:
        raise ValueError("too small")
    return float(len(starts))


def pad_images(x, padding):
    x = listed(x)
    if isinstance(x[0][0], list):
        return [pad_images(inner, padding) for inner in x]
    side = [0.0] * padding
    row = [0.0] * (len(x[0]) + 2 * padding)
    return [row] * padding + [side + [float(v) for v in line] + side for line in x] + [row] * padding


def places(height, width, kh, kw, s, p, d):
    """(i, j, u, v, row, column) in the image, None where it is frame."""
    for i in range(int(conv_output_size(height, kh, s, p, d))):
        for j in range(int(conv_output_size(width, kw, s, p, d))):
            for u in range(kh):
                for v in range(kw):
                    row, column = i * s + u * d - p, j * s + v * d - p
                    yield i, j, u, v, row, column, 0 <= row < height and 0 <= column < width


def zeros(*shape):
    return [zeros(*shape[1:]) for _ in range(shape[0])] if shape else 0.0


def conv2d_naive(image, W, b, stride=1, padding=0, dilation=1):
    image, W, b = listed(image), listed(W), listed(b)
    kh, kw, height, width = len(W[0][0]), len(W[0][0][0]), len(image[0]), len(image[0][0])
    oh = int(conv_output_size(height, kh, stride, padding, dilation))
    ow = int(conv_output_size(width, kw, stride, padding, dilation))
    out = [[[float(b[f])] * ow for _ in range(oh)] for f in range(len(W))]
    for i, j, u, v, row, column, here in places(height, width, kh, kw, stride, padding, dilation):
        if here:
            for f in range(len(W)):
                out[f][i][j] += sum(W[f][c][u][v] * image[c][row][column] for c in range(len(image)))
    return out


def im2col(x, kernel_h, kernel_w, stride=1, padding=0, dilation=1):
    x = listed(x)
    rows = []
    for image in x:
        padded = pad_images(image, padding)
        for i in range(int(conv_output_size(len(padded[0]), kernel_h, stride, 0, dilation))):
            for j in range(int(conv_output_size(len(padded[0][0]), kernel_w, stride, 0, dilation))):
                rows.append(
                    [
                        channel[i * stride + u * dilation][j * stride + v * dilation]
                        for channel in padded
                        for u in range(kernel_h)
                        for v in range(kernel_w)
                    ]
                )
    return rows


def conv2d_forward(x, W, b, stride=1, padding=0, dilation=1):
    x, W, b = listed(x), listed(W), listed(b)
    return [conv2d_naive(image, W, b, stride, padding, dilation) for image in x], {
        "x": x,
        "W": W,
        "sizes": (stride, padding, dilation),
    }


def col2im(cols, image_shape, kernel_h, kernel_w, stride=1, padding=0, dilation=1):
    B, C, H, W = image_shape
    cols, out = listed(cols), zeros(B, C, H, W)
    oh = int(conv_output_size(H, kernel_h, stride, padding, dilation))
    ow = int(conv_output_size(W, kernel_w, stride, padding, dilation))
    for i, j, u, v, row, column, here in places(H, W, kernel_h, kernel_w, stride, padding, dilation):
        if here:
            for n in range(B):
                for c in range(C):
                    out[n][c][row][column] += cols[(n * oh + i) * ow + j][(c * kernel_h + u) * kernel_w + v]
    return out


def conv2d_backward(dout, cache):
    x, W, sizes, dout = cache["x"], cache["W"], cache["sizes"], listed(dout)
    F, C, kh, kw, H, V = len(W), len(W[0]), len(W[0][0]), len(W[0][0][0]), len(x[0][0]), len(x[0][0][0])
    dx, dW = zeros(len(x), C, H, V), zeros(F, C, kh, kw)
    for i, j, u, v, row, column, here in places(H, V, kh, kw, *sizes):
        if here:
            for n in range(len(x)):
                for f in range(F):
                    for c in range(C):
                        dx[n][c][row][column] += W[f][c][u][v] * dout[n][f][i][j]
                        dW[f][c][u][v] += x[n][c][row][column] * dout[n][f][i][j]
    db = [math.fsum(v for image in dout for line in image[f] for v in line) for f in range(F)]
    return [dx, dW, db]


def edge_strength(image):
    image = listed(image)
    turned = [list(line) for line in zip(*SOBEL_X, strict=True)]
    gx, gy = (conv2d_naive([image], [[kernel]], [0])[0] for kernel in (SOBEL_X, turned))
    return [[math.hypot(a, c) for a, c in zip(r, q, strict=True)] for r, q in zip(gx, gy, strict=True)]


def moved(x, down, right):
    x = listed(x)
    if isinstance(x[0][0], list):
        return [moved(inner, down, right) for inner in x]
    H, W = len(x), len(x[0])
    return [
        [x[i - down][j - right] if 0 <= i - down < H and 0 <= j - right < W else 0.0 for j in range(W)]
        for i in range(H)
    ]


def equivariance_error(layer, x, down, right, margin):
    import numpy as np

    one, other = listed(layer(np.array(moved(x, down, right)))), moved(layer(x), down, right)
    worst = 0.0
    for p, q in zip(one, other, strict=True):
        for a, c in zip(p, q, strict=True):
            for i in range(margin, len(a) - margin):
                for j in range(margin, len(a[0]) - margin):
                    worst = max(worst, abs(a[i][j] - c[i][j]))
    return worst


def parameter_counts(image_shape, filters, kernel_h, kernel_w, stride=1, padding=0):
    C, H, W = image_shape
    oh, ow = conv_output_size(H, kernel_h, stride, padding), conv_output_size(W, kernel_w, stride, padding)
    inputs, outputs = C * H * W, filters * oh * ow
    return [sum(C * kernel_h * kernel_w + 1 for _ in range(filters)), inputs * outputs + outputs]
