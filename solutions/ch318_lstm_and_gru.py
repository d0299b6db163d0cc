"""Chapter 318: LSTM and GRU

A plain recurrent network rewrites its whole state in every step, and what it knew fades. Gated networks decide: what to
forget, what to write, what to show. You write one step of each, the way back through every gate, and whole sequences.

Conventions, here and in every chapter:
  - the batch is the first axis, time the second: inputs are (B, T, D), states (B, H), all states (B, T, H);
  - weights are (out, in), used as x @ W.T; a layer is a dict with W_ih, W_hh, b_ih and b_hh, as in torch.nn;
  - the gates are stacked along the first axis, H rows each: i, f, g, o in the LSTM (input, forget, candidate, output),
    so W_ih is (4H, D), W_hh (4H, H) and each bias (4H,); and r, z, n in the GRU (reset, update, new), with 3H rows;
  - gradients come back as a dict with the same four keys, each of the shape of its parameter, and are plain sums over
    the batch and over time: nothing is divided;
  - functions accept any arrays of numbers (and lists), return float64, and never modify what they are given.

Run `dlgrade check ch318` as often as you like; `dlgrade hint ch318 lstm_step` helps you on.
"""

import numpy as np


def sigmoid(x):
    """GIVEN: 1 / (1 + exp(-x)), without overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * np.asarray(x, dtype=np.float64))


def parameter_count(kind, input_size, hidden_size):
    """How many numbers a layer learns.

    A gate has a matrix for the input (H, D), one for the state (H, H), and TWO biases of H numbers. The plain recurrent
    layer has one such set, the GRU three, the LSTM four.

    kind:        "rnn", "gru" or "lstm".
    input_size:  D.
    hidden_size: H.
    Returns a whole number.

    Example: for D = 4 and H = 32 the counts are 1216, 3648 and 4864. (Books that count one bias say 1184, 3552, 4736.)
    """
    ### BEGIN SOLUTION
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[kind]
    return gates * hidden_size * (input_size + hidden_size + 2)
    ### END SOLUTION


def set_forget_bias(params, value=1.0):
    """An LSTM that starts out remembering: raise the bias of its forget gate.

    With small weights and a bias of 0 the forget gate starts near 0.5, and half of the cell is lost in every step. The
    forget gate has two biases, and they are added: set the one in b_ih to value and the one in b_hh to 0.

    params: dict with W_ih (4H, D), W_hh (4H, H), b_ih and b_hh (4H,).
    value:  the new bias.
    Returns a new dict with the same four keys; everything but the forget gate's biases is as it was.

    Example: with H = 1 and both biases [1.0, 2.0, 3.0, 4.0], the new b_ih is [1.0, value, 3.0, 4.0] and the new b_hh
             is [1.0, 0.0, 3.0, 4.0].
    """
    ### BEGIN SOLUTION
    new = {name: np.array(array, dtype=np.float64) for name, array in params.items()}
    hidden = new["W_hh"].shape[1]
    # The order is i, f, g, o: the forget gate owns the second block.
    new["b_ih"][hidden : 2 * hidden] = value
    new["b_hh"][hidden : 2 * hidden] = 0.0
    return new
    ### END SOLUTION


def lstm_step(x, state, params):
    """One step of an LSTM.

        a = x W_ih^T + b_ih + h W_hh^T + b_hh           cut into four blocks of H columns: a_i, a_f, a_g, a_o
        i, f, o = sigmoid of a_i, a_f, a_o              g = tanh(a_g)
        c' = f * c + i * g                              h' = o * tanh(c')

    x:      (B, D).
    state:  a tuple (h, c) of two arrays (B, H).
    params: dict with W_ih (4H, D), W_hh (4H, H), b_ih and b_hh (4H,).
    Returns (new_state, cache): the tuple (h', c'), and whatever your `lstm_step_backward` wants to find again.

    Example: with all parameters zero, i, f and o are 0.5 and g is 0: from c = [[2.0]] and any x and h come
             c' = [[1.0]] and h' = [[0.5 tanh 1]].
    """
    ### BEGIN SOLUTION
    x = np.asarray(x, dtype=np.float64)
    h, c = (np.asarray(part, dtype=np.float64) for part in state)
    params = {name: np.asarray(array, dtype=np.float64) for name, array in params.items()}
    a = x @ params["W_ih"].T + params["b_ih"] + h @ params["W_hh"].T + params["b_hh"]
    a_i, a_f, a_g, a_o = np.split(a, 4, axis=1)
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
    c_new = f * c + i * g
    tanh_c = np.tanh(c_new)
    return (o * tanh_c, c_new), (x, h, c, i, f, g, o, tanh_c, params)
    ### END SOLUTION


def lstm_step_backward(dh, dc, cache):
    """Backward through `lstm_step`.

    c' is used twice: it is handed on, and h' is made of it. So its whole gradient is

        dc_total = dc + dh * o * (1 - tanh(c')^2)

    From there: di = dc_total * g, df = dc_total * c, dg = dc_total * i, do = dh * tanh(c'), and c gets dc_total * f.
    Each gate passes its own function: s (1 - s) for a sigmoid s, 1 - g^2 for the tanh g. Put side by side in the order
    i, f, g, o these are da, (B, 4H), the gradient at a; x, h and the parameters are then those of two linear layers.

    dh, dc: the gradients at h' and at c', each (B, H).
    cache:  what `lstm_step` returned second. Leave it as it is: it may be used more than once.
    Returns (dx, dh_prev, dc_prev, grads): arrays (B, D), (B, H), (B, H), and the dict of gradients.

    Example: for the example of `lstm_step` (B = 1), with dh = [[0.0]] and dc = [[1.0]], dc_prev is [[0.5]] and the
             gradient of b_ih is [0.0, 0.5, 0.5, 0.0]: 2 * 0.25 at the forget gate, 0.5 * 1 at the candidate.
    """
    ### BEGIN SOLUTION
    x, h, c, i, f, g, o, tanh_c, params = cache
    dh, dc = np.asarray(dh, dtype=np.float64), np.asarray(dc, dtype=np.float64)
    dc_total = dc + dh * o * (1.0 - tanh_c**2)
    da = np.concatenate(
        [
            dc_total * g * i * (1.0 - i),
            dc_total * c * f * (1.0 - f),
            dc_total * i * (1.0 - g**2),
            dh * tanh_c * o * (1.0 - o),
        ],
        axis=1,
    )
    bias = da.sum(axis=0)
    grads = {"W_ih": da.T @ x, "W_hh": da.T @ h, "b_ih": bias, "b_hh": bias.copy()}
    return da @ params["W_ih"], da @ params["W_hh"], dc_total * f, grads
    ### END SOLUTION


def lstm_forward(x, params, state=None):
    """Run an LSTM over whole sequences.

    x:      (B, T, D), with T at least 1.
    params: as in `lstm_step`.
    state:  the tuple (h, c) before the first step, each (B, H); None means zeros.
    Returns (hs, last, cache): the states h_1 ... h_T (B, T, H), the tuple (h_T, c_T), and whatever your `lstm_backward`
    wants to find again.

    Example: with T = 1, last is what `lstm_step` makes of x[:, 0], and hs[:, 0] is its h.
    """
    ### BEGIN SOLUTION
    x = np.asarray(x, dtype=np.float64)
    if state is None:
        hidden = np.shape(params["W_hh"])[1]
        state = (np.zeros((len(x), hidden)), np.zeros((len(x), hidden)))
    hs, caches = [], []
    for t in range(x.shape[1]):
        state, cache = lstm_step(x[:, t], state, params)
        hs.append(state[0])
        caches.append(cache)
    return np.stack(hs, axis=1), state, caches
    ### END SOLUTION


def lstm_backward(dhs, cache, dlast=None):
    """Back-propagation through time through `lstm_forward`.

    Two gradients travel from step to step: that of h and that of c. At every step the gradient at h_t is what the
    caller gives for it, dhs[:, t], plus what step t + 1 sends back; c_t gets what step t + 1 sends back. At the last
    step there is no step t + 1: dlast takes its place.

    On the way through c alone the gradient is multiplied by f in every step, and an open forget gate (f = 1) lets it
    pass untouched. That is why an LSTM remembers longer. It is not the whole truth: a further share goes through h and
    the gates, and your function must have it all.

    dhs:   the gradients at the states h_1 ... h_T from outside, (B, T, H).
    cache: what `lstm_forward` returned third. Leave it as it is: it may be used more than once.
    dlast: a tuple (dh, dc) of further gradients at the last state, each (B, H); None means zeros.
    Returns (dx, dstate, grads): an array (B, T, D), the tuple (dh_0, dc_0) of gradients at the start state, each
    (B, H), and the dict of gradients, summed over all steps. dstate is there also when no state was given.

    Example: with T = 1 this is `lstm_step_backward` for dh = dhs[:, 0] plus the dh of dlast, and for the dc of dlast.
    """
    ### BEGIN SOLUTION
    dhs = np.asarray(dhs, dtype=np.float64)
    dh, dc = (np.zeros_like(dhs[:, 0]),) * 2 if dlast is None else dlast
    dx, total = [], None
    for t in reversed(range(dhs.shape[1])):
        dx_t, dh, dc, grads = lstm_step_backward(dhs[:, t] + dh, dc, cache[t])
        dx.append(dx_t)
        # The same weights served in every step: their gradients add up.
        total = grads if total is None else {name: total[name] + grads[name] for name in total}
    return np.stack(dx[::-1], axis=1), (dh, dc), total
    ### END SOLUTION


def gru_step(x, h, params):
    """One step of a GRU, in PyTorch's form.

        u = x W_ih^T + b_ih            v = h W_hh^T + b_hh            each cut into three blocks of H columns: r, z, n
        r = sigmoid(u_r + v_r)         z = sigmoid(u_z + v_z)
        n = tanh(u_n + r * v_n)        the reset gate multiplies v_n as a whole: after the product, bias included
        h' = (1 - z) * n + z * h       so z near 1 KEEPS the old state

    x:      (B, D).
    h:      (B, H).
    params: dict with W_ih (3H, D), W_hh (3H, H), b_ih and b_hh (3H,).
    Returns (h', cache): an array (B, H), and whatever your `gru_step_backward` wants to find again.

    Example: with all parameters zero, z is 0.5 and n is 0: h' is half of h.
    """
    ### BEGIN SOLUTION
    x, h = np.asarray(x, dtype=np.float64), np.asarray(h, dtype=np.float64)
    params = {name: np.asarray(array, dtype=np.float64) for name, array in params.items()}
    u_r, u_z, u_n = np.split(x @ params["W_ih"].T + params["b_ih"], 3, axis=1)
    v_r, v_z, v_n = np.split(h @ params["W_hh"].T + params["b_hh"], 3, axis=1)
    r, z = sigmoid(u_r + v_r), sigmoid(u_z + v_z)
    n = np.tanh(u_n + r * v_n)
    return (1.0 - z) * n + z * h, (x, h, r, z, n, v_n, params)
    ### END SOLUTION


def gru_step_backward(dh, cache):
    """Backward through `gru_step`.

        dn = dh * (1 - z)        dz = dh * (h - n)        and h itself gets dh * z, straight on
        da_n = dn * (1 - n^2)    dr = da_n * v_n
        da_r = dr * r (1 - r)    da_z = dz * z (1 - z)

    u gets (da_r, da_z, da_n) side by side. v gets (da_r, da_z, r * da_n), for v_n went through the reset gate: the
    gradients of W_ih and b_ih are made with the first, those of W_hh and b_hh with the second.

    dh:    the gradient at h', (B, H).
    cache: what `gru_step` returned second. Leave it as it is: it may be used more than once.
    Returns (dx, dh_prev, grads): arrays (B, D) and (B, H), and the dict of gradients.

    Example: with all parameters zero, h = [[2.0]] and dh = [[1.0]], dh_prev is [[0.5]], and both biases get
             [0.0, 0.5, 0.5] and [0.0, 0.5, 0.25]: b_ih the first, b_hh the second.
    """
    ### BEGIN SOLUTION
    x, h, r, z, n, v_n, params = cache
    dh = np.asarray(dh, dtype=np.float64)
    da_n = dh * (1.0 - z) * (1.0 - n**2)
    da_z = dh * (h - n) * z * (1.0 - z)
    da_r = da_n * v_n * r * (1.0 - r)
    du = np.concatenate([da_r, da_z, da_n], axis=1)
    dv = np.concatenate([da_r, da_z, r * da_n], axis=1)
    grads = {"W_ih": du.T @ x, "W_hh": dv.T @ h, "b_ih": du.sum(axis=0), "b_hh": dv.sum(axis=0)}
    return du @ params["W_ih"], dv @ params["W_hh"] + dh * z, grads
    ### END SOLUTION


def gru_forward(x, params, h0=None):
    """Run a GRU over whole sequences.

    x:      (B, T, D), with T at least 1.
    params: as in `gru_step`.
    h0:     the state before the first step, (B, H); None means zeros.
    Returns (hs, cache): the states h_1 ... h_T (B, T, H), and whatever your `gru_backward` wants to find again.

    Example: with all parameters zero, h0 = [[8.0]] and three steps, hs is [[[4.0], [2.0], [1.0]]].
    """
    ### BEGIN SOLUTION
    x = np.asarray(x, dtype=np.float64)
    h = np.zeros((len(x), np.shape(params["W_hh"])[1])) if h0 is None else h0
    hs, caches = [], []
    for t in range(x.shape[1]):
        h, cache = gru_step(x[:, t], h, params)
        hs.append(h)
        caches.append(cache)
    return np.stack(hs, axis=1), caches
    ### END SOLUTION


def gru_backward(dhs, cache):
    """Back-propagation through time through `gru_forward`.

    dhs:   the gradients at the states h_1 ... h_T from outside, (B, T, H).
    cache: what `gru_forward` returned second. Leave it as it is: it may be used more than once.
    Returns (dx, dh0, grads): arrays (B, T, D) and (B, H), and the dict of gradients, summed over all steps. dh0 is
    there also when no h0 was given.

    Example: with all parameters zero, three steps and dhs = [[[0.0], [0.0], [1.0]]], dh0 is [[0.125]].
    """
    ### BEGIN SOLUTION
    dhs = np.asarray(dhs, dtype=np.float64)
    from_future = np.zeros_like(dhs[:, 0])
    dx, total = [], None
    for t in reversed(range(dhs.shape[1])):
        dx_t, from_future, grads = gru_step_backward(dhs[:, t] + from_future, cache[t])
        dx.append(dx_t)
        total = grads if total is None else {name: total[name] + grads[name] for name in total}
    return np.stack(dx[::-1], axis=1), from_future, total
    ### END SOLUTION
