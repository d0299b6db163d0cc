"""Self-supervised objectives: contrastive losses of embeddings, masked and causal language modelling.

Every loss returns itself and the gradient at each of its float inputs. Embeddings enter unnormalized; every similarity
here is a cosine, so scaling an embedding changes no loss.
Sources: Chen et al. 2020 (SimCLR, NT-Xent), van den Oord et al. 2018 (InfoNCE), Radford et al. 2021 (CLIP),
Schroff et al. 2015 (triplet), Devlin et al. 2019 (masked language model).
"""

from typing import NamedTuple

import numpy as np

from dlreference.arrays import Array, ArrayLike, Labels, as_float, as_labels, require_same_shape
from dlreference.losses import cross_entropy

IGNORED = -100
_SMALLEST_NORM = 1e-12


def normalize_rows(z: ArrayLike) -> tuple[Array, Array]:
    """z (..., d) divided by its length, and the length (..., 1); a zero vector stays zero (length counted as 1e-12)."""
    z = as_float(z)
    norm = np.maximum(np.sqrt((z * z).sum(axis=-1, keepdims=True)), _SMALLEST_NORM)
    return z / norm, norm


def normalize_rows_backward(dout: ArrayLike, unit: Array, norm: Array) -> Array:
    """Gradient at z of unit = z / |z|: (dout - unit (unit . dout)) / |z|, the part of dout along z removed."""
    dout = as_float(dout)
    return (dout - unit * (unit * dout).sum(axis=-1, keepdims=True)) / norm


def nt_xent(z: ArrayLike, temperature: float = 0.5) -> tuple[float, Array]:
    """NT-Xent loss of 2N embeddings, rows i and i + N being two views of one sample; gradient (2N, d).

    Row i is classified among the 2N - 1 *other* rows by cosine / temperature, its target being row (i + N) mod 2N; the
    loss is the mean over all 2N rows. Raises ValueError for an odd number of rows.
    """
    unit, norm = normalize_rows(z)
    rows = len(unit)
    if rows % 2 or rows == 0:
        raise ValueError(f"two views a sample need an even number of rows, got {rows}")
    others = ~np.eye(rows, dtype=bool)
    index = np.arange(rows)
    partner = (index + rows // 2) % rows
    logits = (unit @ unit.T / temperature)[others].reshape(rows, rows - 1)
    # Without the diagonal every column right of it moves one to the left.
    loss, dlogits = cross_entropy(logits, partner - (partner > index))
    dsimilarity = np.zeros((rows, rows))
    dsimilarity[others] = dlogits.ravel()
    dunit = (dsimilarity + dsimilarity.T) @ unit / temperature
    return loss, normalize_rows_backward(dunit, unit, norm)


def info_nce(queries: ArrayLike, keys: ArrayLike, temperature: float = 0.07) -> tuple[float, Array, Array]:
    """InfoNCE with in-batch negatives: query i is classified among all keys, key i being the right one.

    queries, keys (N, d) -> mean cross-entropy of the rows of cosine / temperature, and the gradients (N, d) of both.
    """
    q, q_norm = normalize_rows(queries)
    k, k_norm = normalize_rows(keys)
    require_same_shape(q, k)
    loss, dlogits = cross_entropy(q @ k.T / temperature, np.arange(len(q)))
    dq = normalize_rows_backward(dlogits @ k / temperature, q, q_norm)
    return loss, dq, normalize_rows_backward(dlogits.T @ q / temperature, k, k_norm)


def clip_loss(images: ArrayLike, texts: ArrayLike, temperature: float = 0.07) -> tuple[float, Array, Array]:
    """CLIP's symmetric loss: the mean of InfoNCE from images to texts and from texts to images.

    images, texts (N, d), row i of one belonging to row i of the other -> loss and the gradients (N, d) of both.
    """
    forth, dimages_forth, dtexts_forth = info_nce(images, texts, temperature)
    back, dtexts_back, dimages_back = info_nce(texts, images, temperature)
    return 0.5 * (forth + back), 0.5 * (dimages_forth + dimages_back), 0.5 * (dtexts_forth + dtexts_back)


def clip_log_scale_gradient(images: ArrayLike, texts: ArrayLike, log_scale: float) -> float:
    """Derivative of `clip_loss` at the learned number log_scale, with temperature = exp(-log_scale).

    The logits are exp(log_scale) cosine, so this is the sum over both directions of dlogits * logits, halved.
    """
    logits = np.exp(log_scale) * normalize_rows(images)[0] @ normalize_rows(texts)[0].T
    index = np.arange(len(logits))
    dforth, dback = cross_entropy(logits, index)[1], cross_entropy(logits.T, index)[1]
    return float(0.5 * ((dforth + dback.T) * logits).sum())


def triplet_loss(
    anchor: ArrayLike, positive: ArrayLike, negative: ArrayLike, margin: float = 0.2
) -> tuple[float, Array, Array, Array]:
    """Triplet loss with cosine distance 1 - cos: mean of max(0, margin + cos(a, n) - cos(a, p)) over the batch.

    anchor, positive, negative (B, d) -> loss and the gradients of all three (B, d); a triplet at or beyond the margin
    has gradient zero.
    """
    a, a_norm = normalize_rows(anchor)
    p, p_norm = normalize_rows(positive)
    n, n_norm = normalize_rows(negative)
    violation = margin + ((n - p) * a).sum(axis=-1, keepdims=True)
    active = (violation > 0) / len(a)
    da = normalize_rows_backward(active * (n - p), a, a_norm)
    dp = normalize_rows_backward(-active * a, p, p_norm)
    dn = normalize_rows_backward(active * a, n, n_norm)
    return float(np.maximum(violation, 0.0).mean()), da, dp, dn


class MaskedTokens(NamedTuple):
    """Corrupted inputs, the targets (-100 where nothing is asked) and which positions were selected; all (B, T)."""

    inputs: Labels
    targets: Labels
    selected: np.ndarray


def mask_tokens(
    tokens: ArrayLike,
    vocab_size: int,
    mask_id: int,
    rng: np.random.Generator,
    rate: float = 0.15,
    special_ids: tuple[int, ...] = (),
) -> MaskedTokens:
    """BERT masking of tokens (B, T): a position is selected with probability `rate`, unless its token is special.

    Of the selected 80 % become mask_id, 10 % a random token, 10 % stay. Draws, each for all positions at once:
    (1) `rng.random(shape)`, selected where below rate; (2) `rng.random(shape)`, mask where below 0.8, random token
    where in [0.8, 0.9), unchanged otherwise; (3) `rng.integers(vocab_size, size=shape)`, the random tokens.
    """
    tokens = as_labels(tokens)
    selected = (rng.random(tokens.shape) < rate) & ~np.isin(tokens, special_ids)
    kind = rng.random(tokens.shape)
    random_tokens = rng.integers(vocab_size, size=tokens.shape)
    replacement = np.where(kind < 0.8, mask_id, np.where(kind < 0.9, random_tokens, tokens))
    return MaskedTokens(np.where(selected, replacement, tokens), np.where(selected, tokens, IGNORED), selected)


def masked_lm_loss(logits: ArrayLike, targets: ArrayLike) -> tuple[float, Array]:
    """Mean cross-entropy over the positions with a target, and its gradient; logits (B, T, V), targets (B, T).

    Positions with target -100 do not count. Raises ValueError when no position has a target.
    """
    targets = as_labels(targets)
    counted = targets != IGNORED
    return cross_entropy(logits, np.where(counted, targets, 0), counted)


def causal_shift(tokens: ArrayLike) -> tuple[Labels, Labels]:
    """Inputs and targets of next-token prediction: tokens (..., T) -> tokens[..., :-1] and tokens[..., 1:]."""
    tokens = as_labels(tokens)
    return tokens[..., :-1].copy(), tokens[..., 1:].copy()


def causal_lm_loss(logits: ArrayLike, tokens: ArrayLike) -> tuple[float, Array]:
    """Mean cross-entropy of logits (B, T, V) at t against token t + 1 of tokens (B, T), and its gradient (B, T, V).

    The last position predicts nothing that is known, so its gradient is zero.
    """
    logits = as_float(logits)
    loss, dshifted = cross_entropy(logits[..., :-1, :], causal_shift(tokens)[1])
    dlogits = np.zeros_like(logits)
    dlogits[..., :-1, :] = dshifted
    return loss, dlogits
