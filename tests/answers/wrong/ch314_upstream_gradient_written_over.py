"""Wrong: backward clears the gradient that it was given when it is done with it."""

import numpy as np

SOBEL_X = np.array([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
SOBEL_Y = SOBEL_X.T


def shift_images(x, down, right):
    x = np.asarray(x, dtype=np.float64)
    height, width = x.shape[-2:]
    moved = np.zeros_like(x)
    for i in range(height):
        for j in range(width):
            if 0 <= i - down < height and 0 <= j - right < width:
                moved[..., i, j] = x[..., i - down, j - right]
    return moved


def conv_output_size(size, kernel, stride=1, padding=0, dilation=1):
    reach = dilation * (kernel - 1) + 1
    room = size + 2 * padding - reach
    if room < 0:
        raise ValueError("the kernel is larger than the padded image")
    return room // stride + 1


def pad_images(x, padding):
    x = np.asarray(x, dtype=np.float64)
    frame = [(0, 0)] * (x.ndim - 2) + [(padding, padding), (padding, padding)]
    return np.pad(x, frame)


def conv2d_naive(image, W, b, stride=1, padding=0, dilation=1):
    W = np.asarray(W, dtype=np.float64)
    b = np.asarray(b, dtype=np.float64)
    padded = pad_images(image, padding)
    filters, _, kernel_h, kernel_w = W.shape
    out_h = conv_output_size(padded.shape[1], kernel_h, stride, 0, dilation)
    out_w = conv_output_size(padded.shape[2], kernel_w, stride, 0, dilation)
    out = np.zeros((filters, out_h, out_w))
    for i in range(out_h):
        for j in range(out_w):
            rows = i * stride + dilation * np.arange(kernel_h)
            columns = j * stride + dilation * np.arange(kernel_w)
            window = padded[:, rows[:, None], columns]
            for f in range(filters):
                out[f, i, j] = np.sum(W[f] * window) + b[f]
    return out


def im2col(x, kernel_h, kernel_w, stride=1, padding=0, dilation=1):
    padded = pad_images(x, padding)
    batch, channels, height, width = padded.shape
    out_h = conv_output_size(height, kernel_h, stride, 0, dilation)
    out_w = conv_output_size(width, kernel_w, stride, 0, dilation)
    cols = np.zeros((batch, out_h, out_w, channels, kernel_h, kernel_w))
    for u in range(kernel_h):
        for v in range(kernel_w):
            top, left = (u * dilation, v * dilation)
            seen = padded[:, :, top : top + stride * out_h : stride, left : left + stride * out_w : stride]
            cols[:, :, :, :, u, v] = seen.transpose(0, 2, 3, 1)
    return cols.reshape(batch * out_h * out_w, channels * kernel_h * kernel_w)


def conv2d_forward(x, W, b, stride=1, padding=0, dilation=1):
    x = np.asarray(x, dtype=np.float64)
    W = np.asarray(W, dtype=np.float64)
    b = np.asarray(b, dtype=np.float64)
    batch, _, height, width = x.shape
    filters, _, kernel_h, kernel_w = W.shape
    out_h = conv_output_size(height, kernel_h, stride, padding, dilation)
    out_w = conv_output_size(width, kernel_w, stride, padding, dilation)
    cols = im2col(x, kernel_h, kernel_w, stride, padding, dilation)
    products = cols @ W.reshape(filters, -1).T + b
    out = products.reshape(batch, out_h, out_w, filters).transpose(0, 3, 1, 2)
    return (out, (cols, W, x.shape, stride, padding, dilation))


def col2im(cols, image_shape, kernel_h, kernel_w, stride=1, padding=0, dilation=1):
    batch, channels, height, width = image_shape
    out_h = conv_output_size(height, kernel_h, stride, padding, dilation)
    out_w = conv_output_size(width, kernel_w, stride, padding, dilation)
    cols = np.asarray(cols, dtype=np.float64).reshape(batch, out_h, out_w, channels, kernel_h, kernel_w)
    padded = np.zeros((batch, channels, height + 2 * padding, width + 2 * padding))
    for u in range(kernel_h):
        for v in range(kernel_w):
            top, left = (u * dilation, v * dilation)
            padded[:, :, top : top + stride * out_h : stride, left : left + stride * out_w : stride] += cols[
                :, :, :, :, u, v
            ].transpose(0, 3, 1, 2)
    return padded[:, :, padding : padding + height, padding : padding + width]


def conv2d_backward(dout, cache):
    cols, W, image_shape, stride, padding, dilation = cache
    dout = np.asarray(dout, dtype=np.float64)
    db = np.sum(dout, axis=(0, 2, 3))
    filters, _, kernel_h, kernel_w = W.shape
    G = dout.transpose(0, 2, 3, 1).reshape(-1, filters)
    dW = (G.T @ cols).reshape(W.shape)
    dcols = G @ W.reshape(filters, -1)
    dx = col2im(dcols, image_shape, kernel_h, kernel_w, stride, padding, dilation)
    dout *= 0.0
    return (dx, dW, db)


def edge_strength(image):
    image = np.asarray(image, dtype=np.float64)
    W = np.stack([SOBEL_X, SOBEL_Y])[:, None]
    gx, gy = conv2d_naive(image[None], W, np.zeros(2))
    return np.sqrt(gx**2 + gy**2)


def equivariance_error(layer, x, down, right, margin):
    before = np.asarray(layer(shift_images(x, down, right)), dtype=np.float64)
    after = shift_images(layer(np.asarray(x, dtype=np.float64)), down, right)
    height, width = after.shape[-2:]
    difference = (before - after)[..., margin : height - margin, margin : width - margin]
    return np.max(np.abs(difference))


def parameter_counts(image_shape, filters, kernel_h, kernel_w, stride=1, padding=0):
    channels, height, width = image_shape
    conv = filters * (channels * kernel_h * kernel_w + 1)
    outputs = (
        filters
        * conv_output_size(height, kernel_h, stride, padding)
        * conv_output_size(width, kernel_w, stride, padding)
    )
    dense = outputs * (channels * height * width + 1)
    return (conv, dense)
