"""The encoder-decoder of the reference against PyTorch in float64, and its decoders against enumeration."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dlreference import seq2seq
from dlreference.losses import log_softmax
from dlreference.recurrent import RECURRENT_KEYS, init_recurrent

RTOL, ATOL = 1e-10, 1e-12
BOS, EOS, PAD = 5, 6, 7


@pytest.fixture
def rng():
    return np.random.default_rng(319)


def close(ours, theirs) -> None:
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=RTOL, atol=ATOL)


def leaf(x):
    return torch.tensor(x, dtype=torch.float64, requires_grad=True)


def draw_params(rng, n_tokens=8, embed_dim=3, hidden=4):
    params = {"E": rng.normal(size=(n_tokens, embed_dim))}
    for prefix in ("enc_", "dec_"):
        part = init_recurrent(rng, embed_dim, hidden, gates=4)
        params |= {prefix + name: 2.0 * value for name, value in part.items()}
    params |= {"W_out": rng.normal(size=(n_tokens, hidden)), "b_out": rng.normal(size=n_tokens)}
    for value in params.values():
        value.flags.writeable = False
    return params


def torch_lstm(params, prefix):
    hidden, features = params[prefix + "W_hh"].shape[1], params[prefix + "W_ih"].shape[1]
    layer = torch.nn.LSTM(features, hidden, batch_first=True, dtype=torch.float64)
    tensors = layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0
    with torch.no_grad():
        for tensor, name in zip(tensors, RECURRENT_KEYS, strict=True):
            tensor.copy_(torch.tensor(params[prefix + name]))
    return layer, {prefix + name: tensor for name, tensor in zip(RECURRENT_KEYS, tensors, strict=True)}


def torch_logits(source, lengths, inputs, params):
    """Packed sequences stop the encoder at each source's own end. Returns the logits and the tensors by our names."""
    tensors = {name: leaf(params[name]) for name in ("E", "W_out", "b_out")}
    encoder, named = torch_lstm(params, "enc_")
    tensors |= named
    decoder, named = torch_lstm(params, "dec_")
    tensors |= named
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        F.embedding(torch.tensor(source), tensors["E"]), torch.tensor(lengths), batch_first=True, enforce_sorted=False
    )
    _, state = encoder(packed)
    hs, _ = decoder(F.embedding(torch.tensor(inputs), tensors["E"]), state)
    return hs @ tensors["W_out"].T + tensors["b_out"], tensors


BATCHES = {
    "unequal_lengths": [[3, 1, 4], [1], [0, 2, 2, 4, 1]],
    "batch_of_one": [[4, 0]],
    "single_tokens": [[2], [3]],
}
batches = pytest.mark.parametrize("sequences", BATCHES.values(), ids=BATCHES.keys())


@batches
def test_seq2seq_forward(rng, sequences):
    params = draw_params(rng)
    source, lengths = seq2seq.pad_sequences(sequences, PAD)
    inputs, _, _ = seq2seq.decoder_pairs([s[::-1] for s in sequences], BOS, EOS, PAD)
    logits, _ = seq2seq.seq2seq_forward(source, lengths, inputs, params)
    close(logits, torch_logits(source, lengths, inputs, params)[0])


@batches
def test_seq2seq_backward_of_the_masked_loss(rng, sequences):
    params = draw_params(rng)
    source, lengths = seq2seq.pad_sequences(sequences, PAD)
    inputs, targets, mask = seq2seq.decoder_pairs([s[::-1] for s in sequences], BOS, EOS, PAD)
    logits, cache = seq2seq.seq2seq_forward(source, lengths, inputs, params)
    loss, dlogits = seq2seq.masked_cross_entropy(logits, targets, mask)
    grads = seq2seq.seq2seq_backward(dlogits, cache)
    theirs, tensors = torch_logits(source, lengths, inputs, params)
    their_loss = F.cross_entropy(theirs.flatten(0, 1), torch.tensor(targets).flatten(), ignore_index=PAD)
    close(loss, their_loss)
    for name, grad in zip(tensors, torch.autograd.grad(their_loss, list(tensors.values())), strict=True):
        close(grads[name], grad)
    assert set(grads) == set(params)


def test_decoder_pairs():
    inputs, targets, mask = seq2seq.decoder_pairs([[1, 2], [], [3]], BOS, EOS, PAD)
    assert inputs.tolist() == [[BOS, 1, 2], [BOS, PAD, PAD], [BOS, 3, PAD]]
    assert targets.tolist() == [[1, 2, EOS], [EOS, PAD, PAD], [3, EOS, PAD]]
    assert mask.tolist() == [[True, True, True], [True, False, False], [True, True, False]]


def test_pad_sequences_of_nothing():
    ids, lengths = seq2seq.pad_sequences([], PAD)
    assert ids.shape == (0, 0)
    assert lengths.shape == (0,)


def test_masked_cross_entropy_value_and_gradient(rng):
    logits, targets = rng.normal(size=(2, 4, 5)), rng.integers(5, size=(2, 4))
    mask = np.array([[1, 1, 0, 1], [1, 0, 0, 0]], dtype=bool)
    x = leaf(logits)
    expected = F.cross_entropy(x[torch.tensor(mask)], torch.tensor(targets[mask]))
    for padding in (targets, np.where(mask, targets, -1), np.where(mask, targets, 99)):
        loss, grad = seq2seq.masked_cross_entropy(logits, padding, mask)
        close(loss, expected)
        close(grad, torch.autograd.grad(expected, x, retain_graph=True)[0])


def drawn_step(seed):
    """A language model whose logits depend on everything said so far; its state is that prefix."""

    def step(token, prefix):
        said = (*prefix, token)
        logits = np.random.default_rng([seed, *said]).normal(size=4)
        return logits, said

    return step


def score(step, answer, bos, eos, closed):
    """Log-probability of an answer, of its EOS too when it is closed."""
    total, state, token = 0.0, (), bos
    for following in [*answer, eos] if closed else answer:
        logits, state = step(token, state)
        total += float(log_softmax(logits)[following])
        token = following
    return total


@pytest.mark.parametrize("seed", range(6))
def test_beam_search_wide_enough_finds_the_best_of_all_answers(seed):
    step, bos, eos, max_len = drawn_step(seed), 9, 3, 3
    every = [
        (score(step, answer, bos, eos, closed=length < max_len), answer)
        for length in range(max_len + 1)
        for answer in itertools.product(range(3), repeat=length)
    ]
    found = seq2seq.beam_search(step, (), bos, eos, max_len, width=4**max_len)
    assert [hypothesis.tokens for hypothesis in found] == [answer for _, answer in sorted(every, reverse=True)]
    np.testing.assert_allclose([h.log_prob for h in found], sorted((s for s, _ in every), reverse=True), rtol=1e-13)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("max_len", [0, 1, 5])
def test_beam_search_of_width_one_is_greedy(seed, max_len):
    greedy = seq2seq.greedy_decode(drawn_step(seed), (), 9, 3, max_len)
    best = seq2seq.beam_search(drawn_step(seed), (), 9, 3, max_len, width=1)
    assert [list(hypothesis.tokens) for hypothesis in best] == [greedy]
    assert best[0].finished or len(greedy) == max_len


def test_beam_search_finds_what_greedy_misses():
    """Token 0 looks best at first but leads nowhere; token 1 then closes with certainty."""
    table = {9: [0.55, 0.45, 1e-9, 1e-9], 0: [0.25, 0.25, 0.25, 0.25], 1: [1e-9, 1e-9, 1e-9, 1.0]}
    step = lambda token, state: (np.log(table.get(token, [0.25] * 4)), state)
    assert seq2seq.greedy_decode(step, None, 9, 3, 4)[0] == 0
    assert seq2seq.beam_search(step, None, 9, 3, 4, width=2)[0].tokens == (1,)


def test_greedy_decode_stops_at_eos_and_leaves_it_out():
    said = iter([2, 0, 3, 1])
    step = lambda token, state: (np.eye(4)[next(said)], state)
    assert seq2seq.greedy_decode(step, None, 9, 3, 10) == [2, 0]


def test_seq2seq_decode_equals_greedy_decoding_of_each_source(rng):
    params = draw_params(rng)
    sequences = [[3, 1, 4], [1], [0, 2, 2, 4, 1], [2, 2]]
    source, lengths = seq2seq.pad_sequences(sequences, PAD)
    answers = seq2seq.seq2seq_decode(source, lengths, params, BOS, EOS, max_len=6)

    def step(token, state):
        logits, state = seq2seq.decoder_step([token], state, params)
        return logits[0], state

    for sequence, answer in zip(sequences, answers, strict=True):
        state, _ = seq2seq.encode([sequence], [len(sequence)], params)
        assert answer == seq2seq.greedy_decode(step, state, BOS, EOS, max_len=6)
    assert seq2seq.seq2seq_decode(source, lengths, params, BOS, EOS, max_len=0) == [[], [], [], []]
