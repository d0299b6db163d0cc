"""Right, in another style: other draws from the generator, the polar factor for orthogonal matrices, einsum."""

import numpy as np


def xavier_uniform(fan_in, fan_out, rng):
    unit = rng.random((fan_in, fan_out)).T
    return np.sqrt(24 / (fan_in + fan_out)) * (unit - 0.5)


def he_normal(fan_in, fan_out, rng, mode="fan_in"):
    fan = np.where(mode == "fan_in", fan_in, fan_out)
    columns = [rng.normal(scale=np.sqrt(2 / fan), size=fan_out) for _ in range(fan_in)]
    return np.stack(columns, axis=1)


def orthogonal(fan_in, fan_out, rng, gain=1.0):
    # the orthogonal matrix nearest to a normal one: no direction is preferred
    u, _, vt = np.linalg.svd(rng.standard_normal((fan_out, fan_in)), full_matrices=False)
    return gain * np.einsum("ik,kj->ij", u, vt)


def forward_moments(x, weights):
    a, moments = np.array(x, float), []
    for W in (None, *weights):
        if W is not None:
            z = np.einsum("bi,oi->bo", a, np.array(W, float))
            a = (z + abs(z)) / 2
        moments.append(np.linalg.norm(a) ** 2 / a.size)
    return moments


def backward_moments(x, weights, dout):
    def descend(a, layer):
        """The gradients at the outputs of all layers from this one on, given what goes into the next."""
        if layer == len(weights):
            return [np.asarray(dout, float)]
        W = np.asarray(weights[layer], float)
        z = a @ W.T
        above = descend(np.maximum(z, 0), layer + 1)
        return [(above[0] * np.heaviside(z, 0)).dot(W), *above]

    return np.array([(da * da).mean() for da in descend(np.asarray(x, float), 0)])


def output_bias(p):
    return 2 * np.arctanh(2 * np.asarray(p, float) - 1) if np.ndim(p) == 0 and p == 0.5 else -np.log(1 / np.array(p) - 1)


def init_network(widths, rng, p=0.5):
    *hidden, (n_in, n_out) = zip(widths, widths[1:])
    layers = [(he_normal(*fans, rng), np.zeros(fans[1])) for fans in hidden]
    layers.append((np.zeros((n_out, n_in)), np.repeat(output_bias(p), n_out)))
    return {name: value for n, pair in enumerate(layers, 1) for name, value in zip((f"W{n}", f"b{n}"), pair)}
