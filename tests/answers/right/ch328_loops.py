"""Right, node by node and neighbour by neighbour."""

import math

import numpy as np


def _neighbours(A, i):
    return [j for j in range(len(A)) if A[i][j]]


def normalize_adjacency(A):
    n = len(A)
    full = [[float(A[i][j]) + (i == j) for j in range(n)] for i in range(n)]
    degree = [sum(row) for row in full]
    return [[full[i][j] / math.sqrt(degree[i] * degree[j]) for j in range(n)] for i in range(n)]


def gcn_layer(x, P, W, b):
    x, P, W, b = (np.array(a, float) for a in (x, P, W, b))
    z = np.zeros((len(x), len(W)))
    for i in range(len(x)):
        for j in range(len(x)):
            z[i] += P[i, j] * (W @ x[j])
        z[i] += b
    return np.where(z > 0, z, 0), {"x": x, "P": P, "W": W, "on": z > 0}


def gcn_layer_backward(dout, cache):
    x, P, W = cache["x"], cache["P"], cache["W"]
    dx, dW, db = np.zeros_like(x), np.zeros_like(W), np.zeros(len(W))
    for i, row in enumerate(np.array(dout, float)):
        dz = row * cache["on"][i]
        db += dz
        for j in range(len(x)):
            dW += P[i, j] * np.outer(dz, x[j])
            dx[j] += P[i, j] * (W.T @ dz)
    return dx, dW, db


def aggregate(x, A, how):
    x = np.array(x, float)
    out = np.zeros_like(x)
    for i in range(len(x)):
        heard = [x[j] for j in _neighbours(A, i)]
        if heard:
            out[i] = {"sum": np.sum, "mean": np.mean, "max": np.max}[how](heard, axis=0)
    return out


def gat_layer(x, A, W, a_self, a_neighbour):
    x, W, a, c = (np.array(v, float) for v in (x, W, a_self, a_neighbour))
    h = [W @ row for row in x]
    n = len(x)
    attention, out, bends = np.zeros((n, n)), np.zeros((n, len(W))), np.zeros((n, n))
    for i in range(n):
        heard = sorted({i, *_neighbours(A, i)})
        scores = {}
        for j in heard:
            s = float(a @ h[i] + c @ h[j])
            bends[i, j] = 1.0 if s > 0 else 0.2
            scores[j] = s * bends[i, j]
        top = max(scores.values())
        total = sum(math.exp(s - top) for s in scores.values())
        for j, s in scores.items():
            attention[i, j] = math.exp(s - top) / total
            out[i] += attention[i, j] * h[j]
    return out, attention.copy(), (x, W, a, c, h, attention, bends)


def gat_backward(dout, cache):
    x, W, a, c, h, attention, bends = cache
    dout = np.array(dout, float)
    n = len(x)
    dh, da, dc = np.zeros((n, len(W))), np.zeros_like(a), np.zeros_like(c)
    for i in range(n):
        worth = [float(dout[i] @ h[j]) for j in range(n)]
        mean = sum(w * p for w, p in zip(worth, attention[i]))
        for j in range(n):
            dh[j] += attention[i, j] * dout[i]
            ds = attention[i, j] * (worth[j] - mean) * bends[i, j]
            da += ds * h[i]
            dc += ds * h[j]
            dh[i] += ds * a
            dh[j] += ds * c
    return [d @ W for d in dh], {"W": sum(np.outer(d, row) for d, row in zip(dh, x)), "a_self": da, "a_neighbour": dc}


def hears(A, layers):
    n = len(A)
    out = []
    for i in range(n):
        known = {i}
        for _ in range(layers):
            known |= {j for k in known for j in _neighbours(A, k)}
        out.append([j in known for j in range(n)])
    return out


def dirichlet_energy(x, A):
    x = np.array(x, float)
    degree = [sum(row) + 1 for row in np.array(A, float)]
    total = 0.0
    for i in range(len(x)):
        for j in _neighbours(A, i):
            gap = x[i] / math.sqrt(degree[i]) - x[j] / math.sqrt(degree[j])
            total += float(gap @ gap) / 2
    return total
