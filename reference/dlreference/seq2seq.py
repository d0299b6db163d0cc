"""Sequence to sequence: what the decoder sees and must say, an LSTM encoder-decoder, greedy and beam search."""

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from dlreference.arrays import Array, ArrayLike, Labels, Params, as_float, as_labels, as_params
from dlreference.attention import Mask
from dlreference.embeddings import embedding_backward, embedding_forward
from dlreference.linear import LinearCache, linear_backward, linear_forward
from dlreference.losses import cross_entropy, log_softmax
from dlreference.lstm import LstmCache, State, lstm_backward, lstm_forward
from dlreference.recurrent import RECURRENT_KEYS

S = TypeVar("S")
Step = Callable[[int, S], tuple[Array, S]]


def pad_sequences(sequences: Sequence[Sequence[int]], pad: int) -> tuple[Labels, Labels]:
    """Sequences of unequal length -> (ids (B, longest) filled up with `pad`, lengths (B,))."""
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    ids = np.full((len(sequences), lengths.max(initial=0)), pad, dtype=np.int64)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = sequence
    return ids, lengths


def decoder_pairs(sequences: Sequence[Sequence[int]], bos: int, eos: int, pad: int) -> tuple[Labels, Labels, Mask]:
    """What the decoder is fed and what it must answer, for teacher forcing.

    Returns inputs = BOS y_1 ... y_n, targets = y_1 ... y_n EOS, and the mask that is True on real targets, EOS
    included; each (B, longest + 1), ids filled up with `pad`.
    """
    inputs, lengths = pad_sequences([[bos, *sequence] for sequence in sequences], pad)
    targets, _ = pad_sequences([[*sequence, eos] for sequence in sequences], pad)
    return inputs, targets, np.arange(inputs.shape[1]) < lengths[:, None]


def masked_cross_entropy(logits: ArrayLike, targets: ArrayLike, mask: ArrayLike) -> tuple[float, Array]:
    """Cross-entropy averaged over the tokens where the mask is True, and its gradient.

    logits (B, T, V), targets and mask (B, T); what stands in `targets` under a False does not matter (any padding id).
    """
    allowed = np.asarray(mask, dtype=bool)
    return cross_entropy(logits, np.where(allowed, as_labels(targets), 0), allowed)


class Seq2SeqCache(NamedTuple):
    """Caches of encoder, decoder and output layer, the token ids, and where each source ends."""

    source: Labels
    last: Labels
    encoder: LstmCache
    inputs: Labels
    decoder: LstmCache
    output: LinearCache
    n_tokens: int


def encode(source: ArrayLike, lengths: ArrayLike, params: Mapping[str, ArrayLike]) -> tuple[State, LstmCache]:
    """The encoder's state (h, c), each (B, H), after the last real token of each source (B, S), lengths (B,)."""
    _, _, cache = lstm_forward(embedding_forward(source, params["E"]), _part(params, "enc_"))
    rows, end = np.arange(cache.h.shape[1]), as_labels(lengths)
    return (cache.h[end, rows], cache.c[end, rows]), cache


def seq2seq_forward(
    source: ArrayLike, lengths: ArrayLike, inputs: ArrayLike, params: Mapping[str, ArrayLike]
) -> tuple[Array, Seq2SeqCache]:
    """Encoder-decoder with teacher forcing (Sutskever et al. 2014): the encoder's last state starts the decoder.

    source (B, S) with lengths (B,), at least 1, decoder inputs (B, T) -> logits (B, T, V) and the cache.
    Parameters: E (V, e), shared; an LSTM's four names under `enc_` and `dec_` (input e, hidden H); W_out (V, H), b_out.
    """
    params = as_params(params)
    state, encoder = encode(source, lengths, params)
    hs, _, decoder = lstm_forward(embedding_forward(inputs, params["E"]), _part(params, "dec_"), state)
    logits, output = linear_forward(hs, params["W_out"], params["b_out"])
    last = as_labels(lengths) - 1
    return logits, Seq2SeqCache(as_labels(source), last, encoder, as_labels(inputs), decoder, output, len(params["E"]))


def seq2seq_backward(dlogits: ArrayLike, cache: Seq2SeqCache) -> Params:
    """The dict of parameter gradients for dlogits (B, T, V)."""
    dhs, d_w_out, d_b_out = linear_backward(dlogits, cache.output)
    d_decoder_in, (dh, dc), decoder = lstm_backward(dhs, cache.decoder)
    batch, length = cache.source.shape
    # The context was read at each source's own last step, so that is where its gradient enters the encoder.
    dhs, dcs = np.zeros((2, batch, length, dh.shape[1]))
    rows = np.arange(batch)
    dhs[rows, cache.last], dcs[rows, cache.last] = dh, dc
    d_encoder_in, _, encoder = lstm_backward(dhs, cache.encoder, dcs=dcs)
    d_table = embedding_backward(d_decoder_in, cache.inputs, cache.n_tokens) + embedding_backward(
        d_encoder_in, cache.source, cache.n_tokens
    )
    grads = {"E": d_table, "W_out": d_w_out, "b_out": d_b_out}
    for prefix, part in (("enc_", encoder), ("dec_", decoder)):
        grads |= {prefix + name: grad for name, grad in part.items()}
    return grads


def decoder_step(tokens: ArrayLike, state: State, params: Mapping[str, ArrayLike]) -> tuple[Array, State]:
    """One step of the decoder: tokens (B,) and the state -> logits (B, V) and the next state."""
    hs, state, _ = lstm_forward(embedding_forward(tokens, params["E"])[:, None], _part(params, "dec_"), state)
    return linear_forward(hs[:, 0], params["W_out"], params["b_out"])[0], state


def _part(params: Mapping[str, ArrayLike], prefix: str) -> Params:
    return {name: as_float(params[prefix + name]) for name in RECURRENT_KEYS}


def seq2seq_decode(
    source: ArrayLike, lengths: ArrayLike, params: Mapping[str, ArrayLike], bos: int, eos: int, max_len: int
) -> list[list[int]]:
    """Greedy answers to a batch of sources (B, S): each a list of at most max_len tokens without BOS and EOS."""
    state, _ = encode(source, lengths, params)
    tokens = np.full(len(as_labels(source)), bos)
    said = []
    for _ in range(max_len):
        logits, state = decoder_step(tokens, state, params)
        tokens = logits.argmax(axis=-1)
        said.append(tokens)
    answers = np.stack(said, axis=1).tolist() if said else [[] for _ in tokens]
    return [answer[: answer.index(eos)] if eos in answer else answer for answer in answers]


def greedy_decode(step: Step[S], state: S, bos: int, eos: int, max_len: int) -> list[int]:
    """The most probable token at each step, until EOS or max_len steps; neither BOS nor EOS is in the answer.

    step(token, state) -> (logits (V,), next state). Of equal logits the lower id wins.
    """
    answer: list[int] = []
    token = bos
    for _ in range(max_len):
        logits, state = step(token, state)
        token = int(np.argmax(logits))
        if token == eos:
            break
        answer.append(token)
    return answer


class Hypothesis(NamedTuple, Generic[S]):
    """A partial answer, its log-probability (EOS included once it is finished), and the decoder's state behind it."""

    tokens: tuple[int, ...]
    log_prob: float
    state: S
    finished: bool


def beam_search(step: Step[S], state: S, bos: int, eos: int, max_len: int, width: int) -> list[Hypothesis[S]]:
    """Keep the `width` most probable answers at each step; finished ones stay and compete. Best first.

    step as in `greedy_decode`; width 1 is greedy decoding. It ends when all are finished or after max_len steps; scores
    are plain sums of log-probabilities, so short answers have an advantage. Of equals the one found first is kept.
    """
    beam = [Hypothesis((), 0.0, state, False)]
    for _ in range(max_len):
        if all(hypothesis.finished for hypothesis in beam):
            break
        candidates = [hypothesis for hypothesis in beam if hypothesis.finished]
        for tokens, log_prob, before, _ in (hypothesis for hypothesis in beam if not hypothesis.finished):
            logits, after = step(tokens[-1] if tokens else bos, before)
            log_probs = log_softmax(logits)
            for token in np.argsort(-log_probs, kind="stable")[:width].tolist():
                finished = token == eos
                grown = tokens if finished else (*tokens, token)
                candidates.append(Hypothesis(grown, log_prob + float(log_probs[token]), after, finished))
        beam = sorted(candidates, key=lambda hypothesis: -hypothesis.log_prob)[:width]
    return beam
