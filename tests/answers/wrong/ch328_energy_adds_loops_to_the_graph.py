"""Wrong: the energy puts self-loops into the graph it was given."""

import numpy as np


def normalize_adjacency(A):
    looped = np.identity(len(A)) + A
    root = np.diag(looped.sum(1) ** -0.5)
    return root @ looped @ root


def gcn_layer(x, P, W, b):
    z = np.einsum("ij,jd,od->io", P, x, W) + b
    return z.clip(0), [np.array(a, float) for a in (x, P, W, z)]


def gcn_layer_backward(dout, cache):
    x, P, W, z = cache
    dz = np.heaviside(z, 0) * dout
    return np.einsum("ij,io,od->jd", P, dz, W), np.einsum("ij,io,jd->od", P, dz, x), np.einsum("io->o", dz)


def aggregate(x, A, how):
    x, A = np.asarray(x, float), np.asarray(A, float)
    if how == "max":
        return np.array([x[row > 0].max(0) if row.any() else 0 * x[0] for row in A])
    weights = A if how == "sum" else np.divide(A, A.sum(1)[:, None], out=np.zeros_like(A), where=A.sum(1)[:, None] > 0)
    return weights @ x


def gat_layer(x, A, W, a_self, a_neighbour):
    h = np.asarray(x, float) @ np.transpose(W)
    s = np.add.outer(h @ a_self, h @ a_neighbour)
    with np.errstate(divide="ignore"):
        e = np.maximum(s, s / 5) + np.log(np.minimum(np.asarray(A, float) + np.eye(len(A)), 1))
    p = np.exp(e - np.logaddexp.reduce(e, axis=1)[:, None])
    return p @ h, p, dict(x=np.array(x, float), W=np.array(W, float), a=np.array(a_self), c=np.array(a_neighbour), p=p)


def gat_backward(dout, cache):
    x, W, a, c, p = (cache[k] for k in "xWacp")
    h = x @ W.T
    s = np.add.outer(h @ a, h @ c)
    g = np.einsum("io,jo->ij", dout, h)
    g = p * g - p * np.einsum("ij,ij->i", p, g)[:, None]
    g[s <= 0] *= 0.2
    dh = p.T @ dout + np.einsum("ij,o->io", g, a) + np.einsum("ij,o->jo", g, c)
    return dh @ W, dict(a_neighbour=np.einsum("ij,jo->o", g, h), a_self=np.einsum("ij,io->o", g, h), W=dh.T @ x)


def hears(A, layers):
    step = (np.asarray(A) != 0).astype(int) + np.eye(len(A), dtype=int)
    return np.linalg.matrix_power(step, layers) > 0


def dirichlet_energy(x, A):
    x = np.asarray(x, float)
    A = np.asarray(A)
    np.fill_diagonal(A, 1)
    P = normalize_adjacency(A - np.eye(len(A)))
    return float(np.trace(x.T @ (np.eye(len(x)) - P) @ x))
