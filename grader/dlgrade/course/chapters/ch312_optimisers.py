"""Checks of chapter 312: one step of five optimisers, their run down a valley, and the choice of a learning rate.

A step takes and returns its memory, whose form is the student's business: it stays with the student's process and is
handed back as it came. What is compared is the change of every parameter in every step, because a wrong optimiser shows
in the step (its size, its sign) and hides in parameters of size one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from dlreference import optim as ref

from dlgrade.course.compare import below, entry, holds, items, numbers, same
from dlgrade.course.kinds import Rng, case_of, prop, training
from dlgrade.course.spec import Chapter, Check, Exercise, Mistake, Picture
from dlgrade.sandbox.protocol import Callback, Function

Array = np.ndarray[Any, Any]
Params = dict[str, Any]
Shapes = Mapping[str, tuple[int, ...]]
Step = Callable[..., Any]

LR = 0.01
# Small enough for a report to show all its numbers.
SMALL: Shapes = {"W": (2, 3), "b": (3,)}
# All shapes differ, so that nothing can be mixed up unseen; "gain" is a single number.
NETWORK: Shapes = {"W1": (3, 2), "b1": (3,), "W2": (2, 3), "b2": (2,), "gain": ()}
# Two of one shape: whatever they wrongly share broadcasts without an error.
TWINS: Shapes = {"left": (4,), "right": (4,)}
RULES: dict[str, Step] = {
    "momentum_step": ref.momentum_step,
    "adagrad_step": ref.adagrad_step,
    "rmsprop_step": ref.rmsprop_step,
    "adam_step": ref.adam_step,
    "adamw_step": ref.adamw_step,
}


# --- walking with an optimiser ---------------------------------------------------------------------------------------


def weights(rng: Rng, shapes: Shapes) -> Params:
    return {name: np.asarray(np.round(rng.normal(size=shape), 2)) for name, shape in shapes.items()}


def slopes(rng: Rng, shapes: Shapes, scale: float = 1000.0) -> Params:
    """Gradients of both signs between scale / 2 and 2 scale: at the default scale an epsilon of 1e-8 is not felt."""
    return {
        name: np.asarray(scale * rng.choice([-1.0, 1.0], size=shape) * np.round(rng.uniform(0.5, 2.0, size=shape), 2))
        for name, shape in shapes.items()
    }


class Walk(msgspec.Struct, frozen=True):
    """Some steps of an optimiser: where from, along which gradients, with which rates and options."""

    params: Params
    grads: Sequence[Params]
    options: dict[str, float] = {}
    rates: Sequence[float] = ()

    def settings(self, n: int) -> dict[str, float]:
        return {"lr": self.rates[n] if self.rates else LR, **self.options}


def floats(arrays: Params) -> Params:
    return {name: np.asarray(array, dtype=np.float64) for name, array in arrays.items()}


def draw_walk(rng: Rng, shapes: Shapes, steps: int = 6, scale: float = 1000.0, **options: float) -> Walk:
    return Walk(weights(rng, shapes), [slopes(rng, shapes, scale) for _ in range(steps)], options)


def one_step(
    student: Any, function: str, params: Params, grads: Params, state: Any, when: str, **settings: float
) -> tuple[Params, Any]:
    """The parameters after one step of the student's, and the state, which stays with the student's process."""
    answer = student.call(function, params, grads, state, keep=(1,), **settings)
    with case_of("", student.transcript[-1][0]):
        stepped, state = items(answer, ("params", "state"))
        return parameters(stepped, params, when), state


def take(student: Any, function: str, walk: Walk) -> list[Params]:
    """The change of every parameter in every step, as the student's function makes them."""
    params, state = walk.params, dict[str, Any]()
    changes = []
    for n, grads in enumerate(walk.grads):
        when = f"after step {n + 1}"
        stepped, state = one_step(student, function, params, grads, state, when, **walk.settings(n))
        # A wrong step may end at infinity, which is no reason for a warning of ours.
        with np.errstate(all="ignore"):
            changes.append({name: stepped[name] - params[name] for name in params})
        params = stepped
    return changes


def parameters(got: Any, like: Params, when: str) -> Params:
    """The returned parameters as float64, if they have the names and shapes of these."""
    found = {}
    for name, value in like.items():
        array = entry(got, name, f"params {when}")
        found[name] = numbers(array, np.shape(value), f"{name} {when}")
        narrow = isinstance(array, np.ndarray) and array.dtype.kind == "f" and array.dtype.itemsize < 8
        holds(not narrow, f"{name} {when} is of type {getattr(array, 'dtype', '')}; float64 is asked for.")
    extra = ", ".join(repr(name) for name in got if name not in like)
    holds(not extra, f"params {when} holds {extra}, which was not among the params that were passed in.")
    return found


def right_changes(rule: Step, walk: Walk) -> list[Params]:
    params, state = walk.params, dict[str, Any]()
    changes = []
    for n, grads in enumerate(walk.grads):
        stepped, state = rule(params, grads, state, **walk.settings(n))
        changes.append({name: stepped[name] - np.asarray(params[name]) for name in params})
        params = stepped
    return changes


def compare(student: Any, got: list[Params], want: Sequence[Params], **tolerance: float) -> None:
    """The changes are the right ones, step by step; the report shows the call of the first step that is not."""
    calls = [call for call, _ in student.transcript[-len(got) :]]
    for n, (mine, right) in enumerate(zip(got, want, strict=True)):
        with case_of("", calls[n]):
            for name, change in right.items():
                same(mine[name], change, f"the change of {name} in step {n + 1}", **tolerance)


def follow(student: Any, function: str, reason: str, walk: Walk) -> None:
    """The student's steps are the reference's."""
    with case_of(reason):
        got = take(student, function, walk)
        compare(student, got, right_changes(RULES[function], walk))


# --- checks that several optimisers share ----------------------------------------------------------------------------


def trajectory(name: str, points: int, function: str, walks: dict[str, Callable[[Rng], Walk]]) -> Check:
    """Steps equal to the reference's on walks, each with a reason."""

    @prop(name, points, function)
    def check(student: Any, rng: Rng) -> None:
        for reason, draw in walks.items():
            follow(student, function, reason, draw(rng))

    return check


def assorted(rng: Rng) -> Array:
    """A gradient with entries of both signs and very different size."""
    return rng.permutation([10.0, 1e2, 1e3, 1e4, 1e6, 1e8]) * rng.permutation([-1.0, 1.0, -1.0, 1.0, -1.0, 1.0])


def constant_gradient(
    name: str, points: int, function: str, length: Callable[[int, Array], Array], **options: float
) -> Check:
    """With a constant gradient, step n changes every entry by `-LR * sign(g) * length(n, |g|)`."""

    @prop(name, points, function)
    def check(student: Any, rng: Rng) -> None:
        g = assorted(rng)
        steps = Walk(weights(rng, {"w": (6,)}), [{"w": g}] * 4, options)
        want = [{"w": -LR * np.sign(g) * length(n, np.abs(g))} for n in range(1, 5)]
        with case_of("a constant gradient, its entries from ten to a hundred million"):
            # The closed form leaves epsilon out: 1e-8 against the root of a mean square of at least 25.
            compare(student, take(student, function, steps), want, rtol=1e-6)

    return check


def tiny(rng: Rng) -> Walk:
    return draw_walk(rng, SMALL, 4, scale=1e-6)


def large_epsilon(rng: Rng) -> Walk:
    return draw_walk(rng, SMALL, 4, scale=1.0, eps=0.1)


def rare(rng: Rng) -> Walk:
    """One entry always has a gradient, one never, one in every third step, one in the first only, one in the last."""
    on = np.array([[1, 0, n % 3 == 1, n == 0, n == 5] for n in range(6)], dtype=np.float64)
    return Walk(weights(rng, {"w": (5,)}), [{"w": row * slopes(rng, {"w": (5,)})["w"]} for row in on])


def falling_rate(rng: Rng) -> Walk:
    """Three steps at one rate and three at a tenth of it: who keeps the first rate in the state shows here."""
    return Walk(weights(rng, SMALL), [slopes(rng, SMALL) for _ in range(6)], rates=[0.05] * 3 + [0.005] * 3)


def plain_numbers(rng: Rng) -> Walk:
    """Whole numbers, lists and float32: what zeros_like of a parameter would make of the moments shows here."""
    params = {"w": [1, -2, 3], "b": np.array([4, 5]), "c": rng.normal(size=(2, 2)).astype(np.float32)}
    grads = [
        {
            "w": rng.permutation([3, -7, 20]).tolist(),
            "b": rng.permutation([6, -9]),
            "c": slopes(rng, {"c": (2, 2)})["c"].astype(np.float32),
        }
        for _ in range(3)
    ]
    return Walk(params, grads)


# What every optimiser must also take; last in a check, for it has less to say than the walks before it.
ALSO: dict[str, Callable[[Rng], Walk]] = {
    "a learning rate that falls to a tenth after three steps": falling_rate,
    "parameters and gradients that are not float64": plain_numbers,
}


def twins(rng: Rng) -> Walk:
    return draw_walk(rng, TWINS, 3)


def other_order(rng: Rng) -> Walk:
    """The gradients come in another order than the parameters."""
    steps = draw_walk(rng, TWINS, 3)
    return Walk(steps.params, [dict(reversed(grads.items())) for grads in steps.grads])


def same_again(once: Params, twice: Params, params: Params) -> None:
    for name, w in params.items():
        with np.errstate(all="ignore"):
            first, second = once[name] - w, twice[name] - w
        same(second, first, f"the change of {name} the second time")


def untouched(function: str, points: int = 1) -> Check:
    """Neither parameters nor gradients nor the old state are modified, in the first step and in the second.

    The state is with the student's process: that it was modified shows when the same step is taken from it again.
    """

    @prop("what is passed in is left as it was", points, function, alone=False)
    def check(student: Any, rng: Rng) -> None:
        params, first, second = weights(rng, NETWORK), slopes(rng, NETWORK), slopes(rng, NETWORK)

        def step(grads: Params, state: Any, which: str) -> tuple[Params, Any]:
            stepped = one_step(student, function, params, grads, state, f"after the {which} step", lr=LR)
            if student.changed and student.changed[0] < 3:
                name = ("params", "grads", "state")[student.changed[0]]
                holds(False, f"the {which} step modified the {name} that it was given; build new arrays in a new dict.")
            return stepped

        _, state = step(first, {}, "first")
        once, _ = step(second, state, "second")
        twice, _ = step(second, state, "second")
        with case_of("a second step that is taken twice, with the same arguments"):
            same_again(once, twice, params)

    return check


def memory_in_state(function: str, points: int) -> Check:
    """A step from the same state gives the same answer again, whatever was called in between.

    Whether the answer is right is for other checks to say.
    """

    @prop("all memory is in the state", points, function)
    def check(student: Any, rng: Rng) -> None:
        params = weights(rng, TWINS)
        first, second, other = (slopes(rng, TWINS) for _ in range(3))
        _, state = one_step(student, function, params, first, {}, "after the first step", lr=LR)
        once, _ = one_step(student, function, params, second, state, "after the second step", lr=LR)
        one_step(student, function, params, other, {}, "after another training's first step", lr=LR)
        twice, _ = one_step(student, function, params, second, state, "after the second step, taken again", lr=LR)
        with case_of("a step that is taken twice from the same state, with another training's step in between"):
            same_again(once, twice, params)

    return check


# --- mistakes that every optimiser can have --------------------------------------------------------------------------


def forgetful(rule: Step) -> Step:
    return lambda params, grads, state, *a, **k: (rule(params, grads, {}, *a, **k)[0], {})


def uphill(rule: Step) -> Step:
    def step(params: Params, grads: Params, state: Params, *a: Any, **k: Any) -> Any:
        stepped, state = rule(params, grads, state, *a, **k)
        return {name: 2 * np.asarray(params[name], dtype=np.float64) - stepped[name] for name in params}, state

    return step


def by_position(rule: Step) -> Step:
    def step(params: Params, grads: Params, state: Params, *a: Any, **k: Any) -> Any:
        return rule(params, dict(zip(params, grads.values(), strict=True)), state, *a, **k)

    return step


def params_in_place(rule: Step) -> Step:
    def step(params: Params, grads: Params, state: Params, *a: Any, **k: Any) -> Any:
        stepped, state = rule(params, grads, state, *a, **k)
        for name in params:
            params[name] = np.asarray(params[name], dtype=np.float64)
            params[name][...] = stepped[name]
        return params, state

    return step


def state_filled(rule: Step) -> Step:
    def step(params: Params, grads: Params, state: Params, *a: Any, **k: Any) -> Any:
        stepped, new = rule(params, grads, state, *a, **k)
        state.update(new)
        return stepped, state

    return step


def state_arrays_in_place(rule: Step) -> Step:
    """Right in the first step, whose state is still empty; every later one writes into the arrays of the last."""

    def step(params: Params, grads: Params, state: Params, *a: Any, **k: Any) -> Any:
        stepped, new = rule(params, grads, state, *a, **k)
        if not state:
            return stepped, new
        state.update(new)
        return stepped, state

    return step


def shared_mistakes(function: str) -> tuple[Mistake, ...]:
    """What can go wrong with any step, under names of its own for each function."""
    rule, prefix = RULES[function], function.removesuffix("_step")
    return (
        Mistake(
            name=f"{prefix}-memory-not-kept",
            advice="Every step looks like a first one: what this step learnt must go into the returned state, and the "
            "next step must start from it.",
            replaces={function: forgetful(rule)},
        ),
        Mistake(
            name=f"{prefix}-gradients-paired-by-position",
            advice="Take each gradient by the name of its parameter, grads[name]: the two dicts may be in different "
            "orders.",
            replaces={function: by_position(rule)},
        ),
        Mistake(
            name=f"{prefix}-params-modified-in-place",
            advice="w -= ... and w[...] = ... write into the caller's array, and params[name] = ... into the caller's "
            "dict: compute w - ... as a new array, and put it into a new dict.",
            replaces={function: params_in_place(rule)},
            variants=({function: params_in_place(state_filled(rule))},),
        ),
        Mistake(
            name=f"{prefix}-state-modified-in-place",
            advice="The state that you were given was written into. It is the caller's, who may keep it to go back to "
            "this point: return a new dict with new arrays.",
            replaces={function: state_filled(rule)},
            variants=({function: state_arrays_in_place(rule)},),
        ),
    )


def step_uphill(function: str) -> Mistake:
    return Mistake(
        name=f"{function.removesuffix('_step')}-uphill",
        advice="The gradient points uphill, so the step is subtracted from the parameter; yours is added.",
        replaces={function: uphill(RULES[function])},
    )


# --- momentum --------------------------------------------------------------------------------------------------------


def momentum_with(
    gather: Callable[..., Any] = lambda v, g, lr, mu: mu * v + g,
    move: Callable[..., Any] = lambda v, old, g, lr, mu: lr * v,
) -> Step:
    """Momentum with its two lines replaced: v = gather(v, g, lr, momentum), w = w - move(v, old v, g, lr, momentum)."""

    def step(params: Params, grads: Params, state: Params, lr: float, momentum: float = 0.9) -> Any:
        old = state.get("v", dict.fromkeys(params, 0.0))
        g = floats(grads)
        v = {name: gather(old[name], g[name], lr, momentum) for name in params}
        stepped = {name: params[name] - move(v[name], old[name], g[name], lr, momentum) for name in params}
        return stepped, {"v": v}

    return step


momentum_lr_inside = momentum_with(lambda v, g, lr, mu: mu * v + lr * g, lambda v, old, g, lr, mu: v)
momentum_averaged = momentum_with(lambda v, g, lr, mu: mu * v + (1 - mu) * g)
momentum_old_velocity = momentum_with(move=lambda v, old, g, lr, mu: lr * old)
momentum_nesterov = momentum_with(move=lambda v, old, g, lr, mu: lr * (g + mu * v))
momentum_fixed = momentum_with(lambda v, g, lr, mu: 0.9 * v + g)


MOMENTUM = Exercise(
    name="momentum_step",
    title="Gradient descent with momentum",
    functions=("momentum_step",),
    hints=(
        "The velocity must survive from one call to the next. Where does the function get it from, and where does it "
        "leave it?",
        "Look the old velocity of each parameter up in the state, with zeros if the state is still empty; compute the "
        "new one; step with the new one; return new params and a new state.",
        "Make one dict of new velocities and one of new params, with the names of params as keys: momentum times the "
        "old velocity plus the gradient, then the weight minus lr times that. Return the second dict, and a state that "
        "holds the first under a name of your choice.",
    ),
    checks=(
        trajectory(
            "six steps, several parameters",
            4,
            "momentum_step",
            {
                "a matrix and a vector": lambda rng: draw_walk(rng, SMALL),
                "five parameters of different shapes, one a single number": lambda rng: draw_walk(rng, NETWORK, 3),
                "momentum 0.5": lambda rng: draw_walk(rng, SMALL, 3, momentum=0.5),
                "momentum 0, which leaves plain gradient descent": lambda rng: draw_walk(rng, SMALL, 3, momentum=0.0),
                "parameters and gradients that are not float64": plain_numbers,
            },
        ),
        trajectory(
            "a learning rate that changes on the way",
            2,
            "momentum_step",
            {"a learning rate that falls to a tenth after three steps": falling_rate},
        ),
        constant_gradient(
            "a constant gradient builds up speed",
            1,
            "momentum_step",
            lambda n, g: g * (1 - 0.5**n) / 0.5,
            momentum=0.5,
        ),
        trajectory(
            "gradients belong to parameters by name",
            2,
            "momentum_step",
            {
                "two parameters of one shape": twins,
                "gradients in another order than the parameters": other_order,
            },
        ),
        memory_in_state("momentum_step", 2),
        untouched("momentum_step"),
    ),
    mistakes=(
        *shared_mistakes("momentum_step"),
        step_uphill("momentum_step"),
        Mistake(
            name="learning-rate-inside-velocity",
            advice="The velocity is a sum of gradients, and lr multiplies it in the step; with lr inside it, old "
            "gradients keep the learning rate of their own day.",
            replaces={"momentum_step": momentum_lr_inside},
        ),
        Mistake(
            name="velocity-averaged",
            advice="The new gradient enters the velocity with its full weight; a factor 1 - momentum would make it a "
            "mean.",
            replaces={"momentum_step": momentum_averaged},
        ),
        Mistake(
            name="old-velocity-used",
            advice="Step with the new velocity, which already holds today's gradient; yours is one step late.",
            replaces={"momentum_step": momentum_old_velocity},
        ),
        Mistake(
            name="nesterov-instead-of-momentum",
            advice="This is Nesterov's variant, which looks one step ahead; plain momentum subtracts lr times the "
            "velocity.",
            replaces={"momentum_step": momentum_nesterov},
        ),
        Mistake(
            name="momentum-argument-ignored",
            advice="The `momentum` argument is not used: 0.9 is only its default.",
            replaces={"momentum_step": momentum_fixed},
        ),
    ),
)

# --- AdaGrad ---------------------------------------------------------------------------------------------------------


def outside(g: Any, s: Any, eps: float) -> Any:
    return g / (np.sqrt(s) + eps)


def inside(g: Any, s: Any, eps: float) -> Any:
    return g / np.sqrt(s + eps)


def without_epsilon(g: Any, s: Any, eps: float) -> Any:
    return g / np.sqrt(s)


def without_root(g: Any, s: Any, eps: float) -> Any:
    return g / (s + eps)


def adagrad_with(
    gather: Callable[..., Any] = lambda s, g: s + g**2, scaled: Callable[..., Any] = outside, late: bool = False
) -> Step:
    """AdaGrad with a piece replaced; `late` divides by the sum before today's gradient."""

    def step(params: Params, grads: Params, state: Params, lr: float, eps: float = 1e-10) -> Any:
        old = state.get("s", {name: np.zeros(np.shape(params[name])) for name in params})
        g = floats(grads)
        s = {name: gather(old[name], g[name]) for name in params}
        used = old if late else s
        return {name: params[name] - lr * scaled(g[name], used[name], eps) for name in params}, {"s": s}

    return step


adagrad_inside = adagrad_with(scaled=inside)
adagrad_no_epsilon = adagrad_with(scaled=without_epsilon)
adagrad_no_root = adagrad_with(scaled=without_root)
adagrad_sum_of_gradients = adagrad_with(lambda s, g: s + g)
adagrad_sum_of_sizes = adagrad_with(lambda s, g: s + np.abs(g))
adagrad_whole_array = adagrad_with(lambda s, g: s + np.sum(g**2))
adagrad_mean_of_array = adagrad_with(lambda s, g: s + np.mean(g**2))
adagrad_late = adagrad_with(late=True)


def adagrad_mean(params: Params, grads: Params, state: Params, lr: float, eps: float = 1e-10) -> Any:
    t = state.get("t", 0) + 1
    s = state.get("s", dict.fromkeys(params, 0.0))
    s = {name: s[name] + np.asarray(grads[name], dtype=np.float64) ** 2 for name in params}
    stepped = {name: params[name] - lr * outside(np.asarray(grads[name]), s[name] / t, eps) for name in params}
    return stepped, {"s": s, "t": t}


@prop("the n-th step is lr / sqrt(n), whatever the gradient's size", 2, "adagrad_step")
def falling_steps(student: Any, rng: Rng) -> None:
    g = assorted(rng)
    steps = Walk(weights(rng, {"w": (6,)}), [{"w": g}, {"w": g}, {"w": 0 * g}, {"w": g}])
    want = [{"w": -LR * np.sign(g) * length} for length in (1, 1 / np.sqrt(2), 0, 1 / np.sqrt(3))]
    with case_of("a constant gradient, its entries from ten to a hundred million, and zero in step 3"):
        # The closed form leaves epsilon out, 1e-10 against a root of at least 10.
        compare(student, take(student, "adagrad_step", steps), want, rtol=1e-6)


ADAGRAD = Exercise(
    name="adagrad_step",
    title="AdaGrad: a learning rate for every weight",
    functions=("adagrad_step",),
    hints=(
        "The plan is that of momentum_step: look up the memory, renew it, step, return both. Only the two formulas "
        "are new.",
        "s has the shape of its parameter. Everything happens entry by entry: no sum over an array anywhere.",
        "The new s is the old one plus the gradient squared. Divide lr times the gradient by the square root of the "
        "new "
        "s, to which eps is added after the root is taken.",
    ),
    checks=(
        trajectory(
            "six steps, several parameters",
            4,
            "adagrad_step",
            {
                "a matrix and a vector": lambda rng: draw_walk(rng, SMALL),
                "five parameters of different shapes, one a single number": lambda rng: draw_walk(rng, NETWORK, 3),
                "two parameters of one shape, the gradients in another order": other_order,
                **ALSO,
            },
        ),
        falling_steps,
        trajectory(
            "epsilon is added outside the root",
            2,
            "adagrad_step",
            {"gradients of about 1e-6": tiny, "eps of 0.1": large_epsilon},
        ),
        trajectory(
            "zero gradients and rare ones",
            3,
            "adagrad_step",
            {"entries whose gradient is zero always, or most of the time": rare},
        ),
        untouched("adagrad_step"),
    ),
    mistakes=(
        *shared_mistakes("adagrad_step"),
        step_uphill("adagrad_step"),
        Mistake(
            name="adagrad-epsilon-inside-root",
            advice="eps is added to the root, sqrt(s) + eps: inside the root it outweighs small gradients, and weights "
            "with gradients of 1e-6 hardly move.",
            replaces={"adagrad_step": adagrad_inside},
        ),
        Mistake(
            name="adagrad-without-epsilon",
            advice="A weight that has only seen zero gradients has s = 0, and 0 / 0 is nan: that is what eps is for.",
            replaces={"adagrad_step": adagrad_no_epsilon},
        ),
        Mistake(
            name="adagrad-without-root",
            advice="Divide by the root of s: g / s has the wrong unit, and large gradients would make the smallest "
            "steps.",
            replaces={"adagrad_step": adagrad_no_root},
        ),
        Mistake(
            name="adagrad-gradients-not-squared",
            advice="s sums squares. Gradients of both signs would cancel in it, and a negative sum has no root.",
            replaces={"adagrad_step": adagrad_sum_of_gradients},
            variants=({"adagrad_step": adagrad_sum_of_sizes},),
        ),
        Mistake(
            name="adagrad-one-rate-for-the-array",
            advice="np.sum or np.mean over the gradient gives one number for the whole array; s has an entry for "
            "every weight.",
            replaces={"adagrad_step": adagrad_whole_array},
            variants=({"adagrad_step": adagrad_mean_of_array},),
        ),
        Mistake(
            name="adagrad-mean-instead-of-sum",
            advice="s is the sum of all squared gradients so far, and it only grows; yours is their mean.",
            replaces={"adagrad_step": adagrad_mean},
        ),
        Mistake(
            name="adagrad-divides-by-old-sum",
            advice="Add today's squared gradient to s before you divide by its root: in the first step the old s is "
            "zero.",
            replaces={"adagrad_step": adagrad_late},
        ),
    ),
)

# --- RMSProp ---------------------------------------------------------------------------------------------------------


def usual_mean(s: Any, g: Any, rho: float) -> Any:
    return rho * s + (1 - rho) * g**2


def rmsprop_with(
    gather: Callable[..., Any] = usual_mean, scaled: Callable[..., Any] = outside, late: bool = False
) -> Step:
    """RMSProp with a piece replaced; `late` divides by the mean before today's gradient."""

    def step(params: Params, grads: Params, state: Params, lr: float, rho: float = 0.99, eps: float = 1e-8) -> Any:
        old = state.get("s", {name: np.zeros(np.shape(params[name])) for name in params})
        g = floats(grads)
        s = {name: gather(old[name], g[name], rho) for name in params}
        used = old if late else s
        return {name: params[name] - lr * scaled(g[name], used[name], eps) for name in params}, {"s": s}

    return step


rmsprop_inside = rmsprop_with(scaled=inside)
rmsprop_no_epsilon = rmsprop_with(scaled=without_epsilon)
rmsprop_no_root = rmsprop_with(scaled=without_root)
rmsprop_swapped = rmsprop_with(lambda s, g, rho: (1 - rho) * s + rho * g**2)
rmsprop_not_squared = rmsprop_with(lambda s, g, rho: rho * s + (1 - rho) * g)
rmsprop_sizes = rmsprop_with(lambda s, g, rho: rho * s + (1 - rho) * np.abs(g))
rmsprop_whole_array = rmsprop_with(lambda s, g, rho: rho * s + (1 - rho) * np.mean(g**2))
rmsprop_sum = rmsprop_with(lambda s, g, rho: rho * s + g**2)
rmsprop_adagrad = rmsprop_with(lambda s, g, rho: s + g**2)
rmsprop_fixed = rmsprop_with(lambda s, g, rho: 0.99 * s + 0.01 * g**2)
rmsprop_late = rmsprop_with(late=True)


def rmsprop_corrected(
    params: Params, grads: Params, state: Params, lr: float, rho: float = 0.99, eps: float = 1e-8
) -> Any:
    return ref.adam_step(params, grads, state, lr, 0.0, rho, eps)


RMSPROP = Exercise(
    name="rmsprop_step",
    title="RMSProp: a memory that fades",
    functions=("rmsprop_step",),
    hints=(
        "Compare the two formulas for s, here and in AdaGrad. What else is different?",
        "A running mean keeps the share rho of what it was and takes the share 1 - rho of what is new. There is no "
        "step counter here.",
        "The new s is rho times the old one plus (1 - rho) times the gradient squared; lr times the gradient is "
        "divided "
        "by the root of the new s plus eps. Before the first step the old s is zero.",
    ),
    checks=(
        trajectory(
            "six steps, several parameters",
            4,
            "rmsprop_step",
            {
                "a matrix and a vector": lambda rng: draw_walk(rng, SMALL),
                "five parameters of different shapes, one a single number": lambda rng: draw_walk(rng, NETWORK, 3),
                "two parameters of one shape, the gradients in another order": other_order,
                "rho 0.8": lambda rng: draw_walk(rng, SMALL, 3, rho=0.8),
                **ALSO,
            },
        ),
        constant_gradient(
            "the first steps are the longest, whatever the gradient's size",
            3,
            "rmsprop_step",
            lambda n, g: np.ones_like(g) / np.sqrt(1 - 0.75**n),
            rho=0.75,
        ),
        trajectory(
            "epsilon is added outside the root",
            2,
            "rmsprop_step",
            {"gradients of about 1e-6": tiny, "eps of 0.1": large_epsilon},
        ),
        trajectory(
            "zero gradients and rare ones",
            2,
            "rmsprop_step",
            {"entries whose gradient is zero always, or most of the time": rare},
        ),
        untouched("rmsprop_step"),
    ),
    mistakes=(
        *shared_mistakes("rmsprop_step"),
        step_uphill("rmsprop_step"),
        Mistake(
            name="rmsprop-epsilon-inside-root",
            advice="eps is added to the root, sqrt(s) + eps: inside the root, 1e-8 outweighs the square of every "
            "gradient below 1e-4.",
            replaces={"rmsprop_step": rmsprop_inside},
        ),
        Mistake(
            name="rmsprop-without-epsilon",
            advice="A weight that has only seen zero gradients has s = 0, and 0 / 0 is nan; eps prevents that.",
            replaces={"rmsprop_step": rmsprop_no_epsilon},
        ),
        Mistake(
            name="rmsprop-without-root",
            advice="s is a mean of squares; only its root has the unit of the gradient that it divides.",
            replaces={"rmsprop_step": rmsprop_no_root},
        ),
        Mistake(
            name="rho-on-the-wrong-term",
            advice="rho is the share of the old mean that is kept, 1 - rho that of the new square; yours are swapped, "
            "and the memory is gone after one step.",
            replaces={"rmsprop_step": rmsprop_swapped},
        ),
        Mistake(
            name="rmsprop-gradients-not-squared",
            advice="s is a running mean of squares, g**2: the gradient itself changes sign, and a negative mean has "
            "no root.",
            replaces={"rmsprop_step": rmsprop_not_squared},
            variants=({"rmsprop_step": rmsprop_sizes},),
        ),
        Mistake(
            name="rmsprop-one-mean-for-the-array",
            advice="The mean runs over the steps, not over the array: every entry of g**2 has its own s, without "
            "np.mean.",
            replaces={"rmsprop_step": rmsprop_whole_array},
        ),
        Mistake(
            name="rmsprop-sum-instead-of-mean",
            advice="The new square enters with the weight 1 - rho, and the old mean with rho; without both factors s "
            "is "
            "a sum and grows far beyond the squares that it should average.",
            replaces={"rmsprop_step": rmsprop_sum},
            variants=({"rmsprop_step": rmsprop_adagrad},),
        ),
        Mistake(
            name="rmsprop-bias-corrected",
            advice="Dividing s by 1 - rho**t is Adam's correction; RMSProp has none, and its first steps are long.",
            replaces={"rmsprop_step": rmsprop_corrected},
        ),
        Mistake(
            name="rmsprop-divides-by-old-mean",
            advice="Renew s with today's gradient before you divide by its root: in the first step the old s is zero.",
            replaces={"rmsprop_step": rmsprop_late},
        ),
        Mistake(
            name="rho-argument-ignored",
            advice="The `rho` argument is not used: 0.99 is only its default.",
            replaces={"rmsprop_step": rmsprop_fixed},
        ),
    ),
)

# --- Adam ------------------------------------------------------------------------------------------------------------


class Settings(msgspec.Struct, frozen=True):
    """What follows the state in the signatures of Adam and AdamW."""

    lr: float
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01


def adam_like(body: Callable[[Params, Params, Params, Settings], Any]) -> Step:
    """A function of (params, grads, state, settings), to be called like adam_step and adamw_step."""
    return lambda params, grads, state, *a, **k: body(params, grads, state, Settings(*a, **k))


def usual_move(m: Any, v: Any, t: int, o: Settings) -> Any:
    return m / (1 - o.beta1**t) / (np.sqrt(v / (1 - o.beta2**t)) + o.eps)


def usual_second(v: Any, g: Any, m: Any, o: Settings) -> Any:
    return o.beta2 * v + (1 - o.beta2) * g**2


def adam_with(move: Callable[..., Any] = usual_move, second: Callable[..., Any] = usual_second) -> Step:
    """Adam with a piece replaced: v = second(v, g, new m, settings), w = w - lr * move(m, v, t, settings)."""

    @adam_like
    def step(params: Params, grads: Params, state: Params, o: Settings) -> Any:
        zeros = {name: np.zeros(np.shape(params[name])) for name in params}
        t, old_m, old_v = state.get("t", 0) + 1, state.get("m", zeros), state.get("v", zeros)
        w, g = floats(params), floats(grads)
        m = {name: o.beta1 * old_m[name] + (1 - o.beta1) * g[name] for name in w}
        v = {name: second(old_v[name], g[name], m[name], o) for name in w}
        return {name: w[name] - o.lr * move(m[name], v[name], t, o) for name in w}, {"t": t, "m": m, "v": v}

    return step


def uncorrected(m: Any, v: Any, t: int, o: Settings) -> Any:
    return m / (np.sqrt(v) + o.eps)


def only_m_corrected(m: Any, v: Any, t: int, o: Settings) -> Any:
    return m / (1 - o.beta1**t) / (np.sqrt(v) + o.eps)


def only_v_corrected(m: Any, v: Any, t: int, o: Settings) -> Any:
    return m / (np.sqrt(v / (1 - o.beta2**t)) + o.eps)


def epsilon_inside(m: Any, v: Any, t: int, o: Settings) -> Any:
    return m / (1 - o.beta1**t) / np.sqrt(v / (1 - o.beta2**t) + o.eps)


def epsilon_early(m: Any, v: Any, t: int, o: Settings) -> Any:
    return m / (1 - o.beta1**t) * np.sqrt(1 - o.beta2**t) / (np.sqrt(v) + o.eps)


def no_epsilon(m: Any, v: Any, t: int, o: Settings) -> Any:
    return m / (1 - o.beta1**t) / np.sqrt(v / (1 - o.beta2**t))


def no_root(m: Any, v: Any, t: int, o: Settings) -> Any:
    return m / (1 - o.beta1**t) / (v / (1 - o.beta2**t) + o.eps)


def counter_from_zero(m: Any, v: Any, t: int, o: Settings) -> Any:
    first, second = np.float64(1 - o.beta1 ** (t - 1)), np.float64(1 - o.beta2 ** (t - 1))
    return m / first / (np.sqrt(v / second) + o.eps)


@adam_like
def adam_fixed_betas(params: Params, grads: Params, state: Params, o: Settings) -> Any:
    return ref.adam_step(params, grads, state, o.lr, eps=o.eps)


@adam_like
def adam_swapped_betas(params: Params, grads: Params, state: Params, o: Settings) -> Any:
    return ref.adam_step(params, grads, state, o.lr, o.beta2, o.beta1, o.eps)


@adam_like
def adam_counter_per_parameter(params: Params, grads: Params, state: Params, o: Settings) -> Any:
    t, m, v = state.get("t", 0), dict(state.get("m", {})), dict(state.get("v", {}))
    stepped = {}
    for name, g in floats(grads).items():
        t += 1
        m[name] = o.beta1 * m.get(name, 0.0) + (1 - o.beta1) * g
        v[name] = o.beta2 * v.get(name, 0.0) + (1 - o.beta2) * g**2
        stepped[name] = np.asarray(params[name]) - o.lr * usual_move(m[name], v[name], t, o)
    return stepped, {"t": t, "m": m, "v": v}


@adam_like
def adam_shared_moments(params: Params, grads: Params, state: Params, o: Settings) -> Any:
    shape = np.shape(next(iter(params.values())))
    m = state.get("m", dict.fromkeys(params, np.zeros(shape)))
    v = state.get("v", dict.fromkeys(params, np.zeros(shape)))
    t = state.get("t", 0) + 1
    stepped = {}
    for name, g in floats(grads).items():
        m[name] *= o.beta1
        m[name] += (1 - o.beta1) * g
        v[name] *= o.beta2
        v[name] += (1 - o.beta2) * g**2
        stepped[name] = np.asarray(params[name]) - o.lr * usual_move(m[name], v[name], t, o)
    return stepped, {"t": t, "m": m, "v": v}


@adam_like
def adam_stores_corrected(params: Params, grads: Params, state: Params, o: Settings) -> Any:
    stepped, new = ref.adam_step(params, grads, state, o.lr, o.beta1, o.beta2, o.eps)
    t = new["t"]
    m = {name: value / (1 - o.beta1**t) for name, value in new["m"].items()}
    return stepped, {"t": t, "m": m, "v": {name: value / (1 - o.beta2**t) for name, value in new["v"].items()}}


ADAM = Exercise(
    name="adam_step",
    title="Adam, with bias correction",
    functions=("adam_step",),
    hints=(
        "Three things must survive from step to step: two dicts of arrays and one whole number. Put all of them into "
        "the state.",
        "Raise the counter once, before anything else, so that it is 1 in the first step. Renew m and v for each "
        "parameter; then correct both, for this step only, by their own beta to the power of the counter.",
        "With m and v renewed: m_hat is m over (1 - beta1**t), v_hat is v over (1 - beta2**t), and the weight loses "
        "lr times m_hat over (the root of v_hat, plus eps). Return the uncorrected m and v, and t, in a new state.",
    ),
    checks=(
        trajectory(
            "eight steps, several parameters",
            6,
            "adam_step",
            {
                "a matrix and a vector": lambda rng: draw_walk(rng, SMALL, 8),
                "five parameters of different shapes, one a single number": lambda rng: draw_walk(rng, NETWORK, 3),
                "a learning rate that falls to a tenth after three steps": falling_rate,
            },
        ),
        constant_gradient(
            "a constant gradient of any size makes steps of lr",
            5,
            "adam_step",
            lambda n, g: np.ones_like(g),
        ),
        trajectory(
            "one counter for all parameters, one memory for each",
            4,
            "adam_step",
            {
                "two parameters of one shape": twins,
                "gradients in another order than the parameters": other_order,
            },
        ),
        trajectory(
            "other betas",
            3,
            "adam_step",
            {
                "beta1 0.5 and beta2 0.9": lambda rng: draw_walk(rng, SMALL, beta1=0.5, beta2=0.9),
                "beta1 0, which leaves no momentum": lambda rng: draw_walk(rng, SMALL, 4, beta1=0.0, beta2=0.7),
            },
        ),
        trajectory(
            "epsilon is added outside the root",
            3,
            "adam_step",
            {"gradients of about 1e-6": tiny, "eps of 0.1": large_epsilon},
        ),
        trajectory(
            "zero gradients and rare ones",
            2,
            "adam_step",
            {"entries whose gradient is zero always, or most of the time": rare},
        ),
        trajectory(
            "lists, whole numbers and float32 are accepted",
            2,
            "adam_step",
            {"parameters and gradients that are not float64": plain_numbers},
        ),
        memory_in_state("adam_step", 2),
        untouched("adam_step"),
    ),
    mistakes=(
        *shared_mistakes("adam_step"),
        step_uphill("adam_step"),
        Mistake(
            name="no-bias-correction",
            advice="m and v start at zero, so they are too small at first: divide m by 1 - beta1**t and v by "
            "1 - beta2**t, both. Without that the first step is 3.16 times lr.",
            replaces={"adam_step": adam_with(uncorrected)},
            variants=({"adam_step": adam_with(only_m_corrected)}, {"adam_step": adam_with(only_v_corrected)}),
        ),
        Mistake(
            name="adam-epsilon-inside-root",
            advice="eps is added to the root, sqrt(v_hat) + eps: inside the root, 1e-8 outweighs the square of every "
            "gradient below 1e-4, and a gradient of 1e-6 moves its weight by a hundredth of lr.",
            replaces={"adam_step": adam_with(epsilon_inside)},
        ),
        Mistake(
            name="epsilon-before-bias-correction",
            advice="Add eps to the root of v_hat, the corrected one. Next to the root of the uncorrected v it counts "
            "up "
            "to thirty times as much in the first steps.",
            replaces={"adam_step": adam_with(epsilon_early)},
        ),
        Mistake(
            name="adam-without-epsilon",
            advice="A weight whose gradient has always been zero has m_hat = 0 and v_hat = 0, and 0 / 0 is nan; eps "
            "prevents that.",
            replaces={"adam_step": adam_with(no_epsilon)},
        ),
        Mistake(
            name="counter-per-parameter",
            advice="t counts steps. Raised inside the loop over the parameters it counts parameters, and all but the "
            "first are corrected too little.",
            replaces={"adam_step": adam_counter_per_parameter},
        ),
        Mistake(
            name="counter-from-zero",
            advice="1 - beta**0 is zero, and dividing by it gives nan: t is 1 in the first step, so raise it before "
            "you use it.",
            replaces={"adam_step": adam_with(counter_from_zero)},
        ),
        Mistake(
            name="counter-stuck-at-one",
            advice="t is 1 in every step: keep it in the state, and raise the one that comes from there.",
            replaces={"adam_step": adam_with(lambda m, v, t, o: usual_move(m, v, 1, o))},
        ),
        Mistake(
            name="second-moment-not-squared",
            advice="v is a running mean of squares, g**2: the gradient itself changes sign, and a negative mean has "
            "no root.",
            replaces={"adam_step": adam_with(second=lambda v, g, m, o: o.beta2 * v + (1 - o.beta2) * g)},
            variants=({"adam_step": adam_with(second=lambda v, g, m, o: o.beta2 * v + (1 - o.beta2) * np.abs(g))},),
        ),
        Mistake(
            name="adam-one-mean-for-the-array",
            advice="m and v are means over the steps, entry by entry; np.mean over g or g**2 gives one number for the "
            "whole array.",
            replaces={"adam_step": adam_with(second=lambda v, g, m, o: o.beta2 * v + (1 - o.beta2) * np.mean(g**2))},
        ),
        Mistake(
            name="square-of-the-mean",
            advice="v is the mean of squared gradients, not of the squared mean: put g**2 into it, not m**2.",
            replaces={"adam_step": adam_with(second=lambda v, g, m, o: o.beta2 * v + (1 - o.beta2) * m**2)},
        ),
        Mistake(
            name="betas-swapped",
            advice="beta1, the shorter memory, belongs to the mean m; beta2 to the squares v. Yours are swapped.",
            replaces={"adam_step": adam_swapped_betas},
        ),
        Mistake(
            name="betas-ignored",
            advice="The arguments beta1 and beta2 are not used: 0.9 and 0.999 are only their defaults.",
            replaces={"adam_step": adam_fixed_betas},
        ),
        Mistake(
            name="adam-without-root",
            advice="Divide by the root of v_hat: only the root has the unit of the gradient, and makes its scale "
            "cancel.",
            replaces={"adam_step": adam_with(no_root)},
        ),
        Mistake(
            name="corrected-moments-stored",
            advice="m_hat and v_hat are for this step only. Keep the uncorrected m and v in the state, or the next "
            "step "
            "corrects them a second time.",
            replaces={"adam_step": adam_stores_corrected},
        ),
        Mistake(
            name="moments-shared",
            advice="All parameters share one array for m and one for v (dict.fromkeys(params, zeros) makes a single "
            "array with many names): give each its own zeros, of its own shape.",
            replaces={"adam_step": adam_shared_moments},
        ),
    ),
)

# --- AdamW -----------------------------------------------------------------------------------------------------------


def adamw_with(
    share: Callable[[float, float], float] = lambda lr, decay: lr * decay,
    late: bool = False,
    decays: Callable[[Array], bool] = lambda w: True,
) -> Step:
    """AdamW with another share of the weights taken off; `late` takes it off the weights after Adam's step."""

    @adam_like
    def step(params: Params, grads: Params, state: Params, o: Settings) -> Any:
        stepped, state = ref.adam_step(params, grads, state, o.lr, o.beta1, o.beta2, o.eps)
        old = stepped if late else params
        lost = {name: share(o.lr, o.weight_decay) * np.asarray(old[name]) for name in params if decays(stepped[name])}
        return {name: w - lost.get(name, 0.0) for name, w in stepped.items()}, state

    return step


adamw_without_lr = adamw_with(lambda lr, decay: decay)
adamw_halved = adamw_with(lambda lr, decay: lr * decay / 2)
adamw_grows = adamw_with(lambda lr, decay: -lr * decay)
adamw_late = adamw_with(late=True)
adamw_fixed = adamw_with(lambda lr, decay: 0.01 * lr)
adamw_no_decay = adamw_with(lambda lr, decay: 0.0)
adamw_matrices_only = adamw_with(decays=lambda w: w.ndim > 1)


@adam_like
def adamw_l2(params: Params, grads: Params, state: Params, o: Settings) -> Any:
    return ref.adam_step(params, grads, state, o.lr, o.beta1, o.beta2, o.eps, o.weight_decay)


@adam_like
def adamw_decay_scaled(params: Params, grads: Params, state: Params, o: Settings) -> Any:
    stepped, state = ref.adam_step(params, grads, state, o.lr, o.beta1, o.beta2, o.eps)
    correction = 1 - o.beta2 ** state["t"]
    root = {name: np.sqrt(v / correction) + o.eps for name, v in state["v"].items()}
    share = o.lr * o.weight_decay
    return {name: w - share * np.asarray(params[name]) / root[name] for name, w in stepped.items()}, state


def adamw_unheard(*settings: str) -> Step:
    """AdamW that leaves these settings of Adam's at their defaults."""

    @adam_like
    def step(params: Params, grads: Params, state: Params, o: Settings) -> Any:
        heard = {name: getattr(o, name) for name in ("beta1", "beta2", "eps") if name not in settings}
        return ref.adamw_step(params, grads, state, o.lr, weight_decay=o.weight_decay, **heard)

    return step


# Gradients small enough for an L2 penalty to be felt next to them.
MODEST = 30.0


@prop("without a gradient only the decay is left", 3, "adamw_step")
def pure_decay(student: Any, rng: Rng) -> None:
    params = weights(rng, SMALL)
    grads = {name: np.zeros(shape) for name, shape in SMALL.items()}
    steps = Walk(params, [grads] * 3, {"weight_decay": 0.4}, rates=[0.5] * 3)
    kept = 1 - 0.5 * 0.4
    want = [{name: -0.2 * kept**n * params[name] for name in params} for n in range(3)]
    with case_of("gradients of zero"):
        compare(student, take(student, "adamw_step", steps), want)


@prop("the decay does not depend on the gradient's size", 4, "adamw_step")
def decoupled(student: Any, rng: Rng) -> None:
    w = rng.normal(size=(2, 2)) + np.array([[2.0, -2.0], [-2.0, 2.0]])
    g = slopes(rng, {"g": (2, 2)}, MODEST)["g"]
    steps = Walk({"gentle": w, "steep": w}, [{"gentle": g, "steep": 1e6 * g}] * 2, {"weight_decay": 0.3})
    adams = right_changes(ref.adam_step, Walk(steps.params, steps.grads))
    with case_of("two parameters with the same weights, one with gradients a million times larger"):
        got = take(student, "adamw_step", steps)
        for name in steps.params:
            share = f"what AdamW takes off {name} in step 1, besides Adam's own step,"
            same(got[0][name] - adams[0][name], -LR * 0.3 * w, share)
        compare(student, got, right_changes(ref.adamw_step, steps))


ADAMW = Exercise(
    name="adamw_step",
    title="AdamW: decoupled weight decay",
    functions=("adamw_step",),
    hints=(
        "You have adam_step. Which of its lines would have to know about weight decay?",
        "None of them: the decay changes the weights, not the gradient. It can be done before Adam's step, on a new "
        "dict of weights.",
        "Multiply every weight by 1 - lr * weight_decay, and hand these weights, with gradients, state and all other "
        "settings as they are, to adam_step. Its answer is yours.",
    ),
    checks=(
        trajectory(
            "six steps, several parameters",
            4,
            "adamw_step",
            {
                "a matrix and a vector": lambda rng: draw_walk(rng, SMALL, scale=MODEST),
                "five parameters of different shapes, one a single number": lambda rng: draw_walk(
                    rng, NETWORK, 3, scale=MODEST
                ),
                "two parameters of one shape, the gradients in another order": other_order,
                "weight decay 0.2, other betas": lambda rng: draw_walk(
                    rng, SMALL, 3, scale=MODEST, beta1=0.6, beta2=0.95, weight_decay=0.2
                ),
                "eps of 0.1": large_epsilon,
                **ALSO,
            },
        ),
        pure_decay,
        decoupled,
        trajectory(
            "without decay it is Adam",
            2,
            "adamw_step",
            {"a weight decay of zero": lambda rng: draw_walk(rng, SMALL, scale=MODEST, weight_decay=0.0)},
        ),
        untouched("adamw_step"),
    ),
    mistakes=(
        *shared_mistakes("adamw_step"),
        Mistake(
            name="l2-instead-of-decay",
            advice="weight_decay * w was added to the gradient: that is Adam with an L2 penalty. It enters m and v "
            "and is "
            "divided by sqrt(v_hat); take lr * weight_decay * w off the weights instead.",
            replaces={"adamw_step": adamw_l2},
        ),
        Mistake(
            name="decay-divided-by-root",
            advice="The decay is divided by sqrt(v_hat) like the gradient, so weights with large gradients hardly "
            "decay; "
            "it must stand outside that fraction.",
            replaces={"adamw_step": adamw_decay_scaled},
        ),
        Mistake(
            name="decay-without-learning-rate",
            advice="The share that is taken off is lr * weight_decay; without lr the weights are gone in a few steps.",
            replaces={"adamw_step": adamw_without_lr},
        ),
        Mistake(
            name="decay-halved",
            advice="Decay is defined by the step, lr * weight_decay * w; the half belongs to an L2 penalty's loss.",
            replaces={"adamw_step": adamw_halved},
        ),
        Mistake(
            name="decay-sign",
            advice="Weight decay pulls towards zero; yours makes the weights grow.",
            replaces={"adamw_step": adamw_grows},
        ),
        Mistake(
            name="decay-after-the-step",
            advice="The decay is a share of the old weights, those before Adam's step; yours is taken off the new "
            "ones.",
            replaces={"adamw_step": adamw_late},
        ),
        Mistake(
            name="weight-decay-ignored",
            advice="The `weight_decay` argument is not used: 0.01 is only its default.",
            replaces={"adamw_step": adamw_fixed},
        ),
        Mistake(
            name="settings-not-handed-on",
            advice="beta1, beta2 and eps must reach adam_step, all three; yours leaves some of them at their defaults.",
            replaces={"adamw_step": adamw_unheard("beta1", "beta2", "eps")},
            variants=({"adamw_step": adamw_unheard("eps")}, {"adamw_step": adamw_unheard("beta1", "beta2")}),
        ),
        Mistake(
            name="no-decay-at-all",
            advice="This is Adam's step and nothing else: the decay lr * weight_decay * w is missing.",
            replaces={"adamw_step": adamw_no_decay},
        ),
        Mistake(
            name="biases-not-decayed",
            advice="Leaving biases out of the decay is a choice that some make; here all parameters decay alike.",
            replaces={"adamw_step": adamw_matrices_only},
        ),
    ),
)

# --- minimize --------------------------------------------------------------------------------------------------------

STEPS = 2000


class Bowl(msgspec.Struct, frozen=True):
    """f(p) = sum(c (p - a)^2) / 2: its gradient is asked for across the wire, and every point is noted."""

    a: Array
    c: Array
    asked: list[Array] = []

    def loss(self, point: Any) -> float:
        return float(np.sum(self.c * (np.asarray(point, dtype=np.float64) - self.a) ** 2) / 2)

    def grad(self, point: Any) -> Array:
        p = np.array(point, dtype=np.float64)
        self.asked.append(p)
        return self.c * (p - self.a)


def bowl(rng: Rng, size: int) -> Bowl:
    return Bowl(rng.normal(size=size), rng.uniform(0.5, 2.0, size=size))


def history_of(student: Any, bowl: Bowl, start: Any, steps: int, **options: float) -> None:
    """The history is that of the reference on this bowl, and every gradient was asked for where it is needed."""
    want = ref.minimize(ref.momentum_step, Bowl(bowl.a, bowl.c).grad, start, steps, **options)
    step, grad = Callback(ref.momentum_step, "step"), Callback(bowl.grad, "grad")
    got = student.minimize(step, grad, start, steps, **options)
    with case_of("", student.transcript[-1][0]):
        same(got, want, "the history")
        holds(
            len(bowl.asked) == steps,
            f"the gradient was asked for {len(bowl.asked)} times in {steps} steps; it is to be once a step.",
        )


@prop("the history holds the start and every point after it", 4, "minimize")
def whole_history(student: Any, rng: Rng) -> None:
    with case_of("five steps in three dimensions"):
        # Not in the order of the step's signature: options go by keyword.
        history_of(student, bowl(rng, 3), rng.normal(size=3), 5, momentum=0.6, lr=0.2)
    with case_of("one dimension, and the start as a plain list"):
        history_of(student, bowl(rng, 1), [3], 3, lr=0.3)


@prop("no step at all, and a single one", 1, "minimize")
def few_steps(student: Any, rng: Rng) -> None:
    start, well = rng.normal(size=2), bowl(rng, 2)
    step, grad = Callback(ref.momentum_step, "step"), Callback(well.grad, "grad")
    histories = [student.minimize(step, grad, start, n, lr=0.1) for n in (0, 1)]
    after = start - 0.1 * Bowl(well.a, well.c).grad(start)
    for n, want in enumerate(([start], [start, after])):
        with case_of(f"n_steps = {n}", student.transcript[n][0]):
            same(histories[n], np.array(want), "the history")


@prop("the start is left as it was", 1, "minimize", alone=False)
def start_untouched(student: Any, rng: Rng) -> None:
    step, grad = Callback(ref.sgd_step, "step"), Callback(bowl(rng, 2).grad, "grad")
    student.minimize(step, grad, rng.normal(size=2), 2, lr=0.1)
    holds(2 not in student.changed, "`minimize` modified the start that it was given; make every point a new array.")


def heights(points: Array) -> Array:
    """Rosenbrock's function at points (N, 2); the minimum is 0."""
    x, y = points.T
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def down_the_valley(function: str, lr: float, threshold: float) -> Check:
    """The student's optimiser in the student's loop comes below the threshold within the budget.

    From 5,000 starts like this one the reference came below an eighth of the threshold every time.
    """

    @training(f"down the valley with {function}", 2, "minimize", function, cpu_s=10.0)
    def check(student: Any, rng: Rng) -> None:
        start = np.array([-1.5, 2.0]) + rng.uniform(-0.1, 0.1, size=2)
        got = student.minimize(Function(function), Function("rosenbrock_grad"), start, STEPS, lr=lr)
        with case_of("", student.transcript[-1][0]):
            history = numbers(got, (STEPS + 1, 2), "the history")
            holds(
                np.allclose(history[0], start),
                "the first row of the history is not the start. Does your step write into the point that it is given?",
            )
            first = ref.minimize(RULES[function], ref.rosenbrock_grad, start, 10, lr=lr)
            same(history[:11], first, "the history of the first ten steps")
            with np.errstate(all="ignore"):
                lowest = float(np.nanmin(np.append(heights(history), heights(start[None, :]))))
            below(
                lowest,
                threshold,
                f"with {STEPS} gradients the run should come below {threshold:g} on the way, and it did not.",
                f"The lowest value was {lowest:.3g}.",
            )

    return check


def fresh_state(step: Any, grad: Any, start: Any, n_steps: int, **options: Any) -> Array:
    history = [np.array(start, dtype=np.float64)]
    for _ in range(n_steps):
        history.append(step({"p": history[-1]}, {"p": grad(history[-1])}, {}, **options)[0]["p"])
    return np.array(history)


def gradient_of_start(step: Any, grad: Any, start: Any, n_steps: int, **options: Any) -> Array:
    first = np.array(start, dtype=np.float64)
    return ref.minimize(step, lambda p: grad(first), first, n_steps, **options)


def start_left_out(step: Any, grad: Any, start: Any, n_steps: int, **options: Any) -> Array:
    return ref.minimize(step, grad, start, n_steps, **options)[1:]


def end_left_out(step: Any, grad: Any, start: Any, n_steps: int, **options: Any) -> Array:
    return ref.minimize(step, grad, start, n_steps, **options)[:-1]


def last_point_only(step: Any, grad: Any, start: Any, n_steps: int, **options: Any) -> Array:
    return ref.minimize(step, grad, start, n_steps, **options)[-1]


def only_lr(step: Any, grad: Any, start: Any, n_steps: int, **options: Any) -> Array:
    return ref.minimize(step, grad, start, n_steps, lr=options["lr"])


def asks_twice(step: Any, grad: Any, start: Any, n_steps: int, **options: Any) -> Array:
    return ref.minimize(step, lambda p: (grad(p), grad(p))[1], start, n_steps, **options)


MINIMIZE = Exercise(
    name="minimize",
    title="Follow an optimiser down a valley",
    functions=("minimize",),
    hints=(
        "Two things change from step to step, the point and the state. Both come out of one step and go into the next.",
        "Begin with the start as the only point of the history and {} as the state. In every step: gradient at the "
        "current point, one call of step, the new point to the history.",
        "Call step with a dict that holds the current point, a dict that holds its gradient under the same name, the "
        "state, and **options. Take the point out of the returned dict. After the loop make the list an array.",
    ),
    checks=(
        whole_history,
        few_steps,
        start_untouched,
        down_the_valley("momentum_step", 0.001, 1e-5),
        down_the_valley("rmsprop_step", 0.005, 0.1),
        down_the_valley("adam_step", 0.05, 0.001),
    ),
    mistakes=(
        Mistake(
            name="state-not-handed-on",
            advice="Every step got an empty state, so the optimiser never remembers anything: hand on what the last "
            "step returned.",
            replaces={"minimize": fresh_state},
        ),
        Mistake(
            name="gradient-always-at-the-start",
            advice="The gradient is that of the start in every step; ask for it anew at the current point.",
            replaces={"minimize": gradient_of_start},
        ),
        Mistake(
            name="start-left-out",
            advice="The history begins with the start itself: n_steps + 1 points, not n_steps.",
            replaces={"minimize": start_left_out},
        ),
        Mistake(
            name="last-point-left-out",
            advice="The point after the last step is missing: put a point into the history after the step that leads "
            "to it.",
            replaces={"minimize": end_left_out},
        ),
        Mistake(
            name="last-point-only",
            advice="The whole history is asked for, one row for every point, not only where it ended.",
            replaces={"minimize": last_point_only},
        ),
        Mistake(
            name="options-not-handed-on",
            advice="Only lr reaches the step; hand all options on, with **options.",
            replaces={"minimize": only_lr},
        ),
        Mistake(
            name="gradient-asked-twice",
            advice="Each gradient costs a pass through the data: ask once a step and keep the answer in a variable.",
            replaces={"minimize": asks_twice},
        ),
    ),
)

# --- sweep -----------------------------------------------------------------------------------------------------------


def right_sweep(step: Any, loss: Any, grad: Any, start: Any, n_steps: int, lrs: Any) -> Any:
    with np.errstate(all="ignore"):
        losses = [float(loss(ref.minimize(step, grad, start, n_steps, lr=lr)[-1])) for lr in lrs]
    losses = [value if np.isfinite(value) else np.inf for value in losses]
    return lrs[int(np.argmin(losses))], losses


def swept(student: Any, bowl: Bowl, loss: Callable[[Any], float], start: Any, steps: int, lrs: list[float]) -> None:
    """Best rate and losses are right, with plain gradient descent for a step."""
    want = right_sweep(ref.sgd_step, loss, bowl.grad, start, steps, lrs)
    given = (Callback(ref.sgd_step, "step"), Callback(loss, "loss"), Callback(bowl.grad, "grad"))
    before = len(bowl.asked)
    got = student.sweep(*given, start, steps, lrs)
    with case_of("", student.transcript[-1][0]):
        best, losses = items(got, ("best", "losses"))
        same(losses, np.array(want[1]), "the list of losses")
        same(best, want[0], "the best rate")
        asked, right = len(bowl.asked) - before, steps * len(lrs)
        holds(
            asked <= right,
            f"the gradient was asked for {asked} times, but {len(lrs)} runs of {steps} steps need it {right} times: "
            "run `minimize` once with each rate.",
        )


@prop("the last loss of every rate, and the best of them", 4, "sweep")
def every_rate(student: Any, rng: Rng) -> None:
    with case_of("four rates, the third of them the best"):
        well = Bowl(np.array([1.0, -2.0]), np.array([1.0, 1.5]))
        swept(student, well, well.loss, rng.uniform(3, 4, size=2), 3, [0.02, 1.3, 0.7, 0.2])
    with case_of("a rate whose last loss is huge, but a number"):
        well = Bowl(np.array([1.0, -2.0]), np.array([1.0, 1.5]))
        swept(student, well, well.loss, rng.uniform(3, 4, size=2), 3, [0.2, 1e5, 0.3])
    with case_of("the smallest rate the best"):
        well = Bowl(np.array([0.5]), np.array([4.0]))
        swept(student, well, well.loss, rng.uniform(2, 3, size=1), 3, [0.45, 0.48, 0.3])


@prop("a run that diverges never wins", 4, "sweep")
def diverged(student: Any, rng: Rng) -> None:
    well = Bowl(np.array([1.0, -1.0]), np.array([1.0, 2.0]))

    def cliff(point: Any) -> float:
        value = well.loss(point)
        return value if value < 100 else np.nan

    def wall(point: Any) -> float:
        value = well.loss(point)
        return value if value < 100 else np.inf

    def pit(point: Any) -> float:
        value = well.loss(point)
        return value if value < 100 else -np.inf

    start = rng.uniform(1.5, 2, size=2)
    with case_of("a rate whose last loss is nan"):
        swept(student, well, cliff, start, 3, [5.0, 0.1, 0.3])
        swept(student, well, cliff, start, 3, [0.3, 0.1, 5.0])
    with case_of("a rate whose last loss is infinite"):
        swept(student, well, wall, start, 3, [5.0, 0.1, 0.3])
    with case_of("a rate whose last loss is minus infinity"):
        swept(student, well, pit, start, 3, [0.1, 5.0, 0.3])


@prop("of two equally good rates the first wins", 1, "sweep")
def tie(student: Any, rng: Rng) -> None:
    # One step takes a point at distance d of this bowl's bottom to (1 - lr) d: at 0.5 and 1.5 equally far, exactly.
    well = Bowl(np.zeros(1), np.ones(1))
    with case_of("rates of 1.5 and 0.5, equally good"):
        swept(student, well, well.loss, np.array([2.0]), 1, [0.125, 1.5, 0.5])
    with case_of("rates of 0.5 and 1.5, equally good"):
        swept(student, well, well.loss, np.array([2.0]), 1, [0.5, 1.5, 0.125])


@prop("in the valley, with momentum", 1, "sweep", "momentum_step")
def valley_sweep(student: Any, rng: Rng) -> None:
    start = np.array([-1.5, 2.0]) + rng.uniform(-0.1, 0.1, size=2)
    # A rate of 0.05 throws the point out of the valley, to infinity and then to nan, within a few steps.
    lrs = [0.05, 0.0001, 0.0005]
    want = right_sweep(ref.momentum_step, ref.rosenbrock, ref.rosenbrock_grad, start, 60, lrs)
    got = student.sweep(Function("momentum_step"), Function("rosenbrock"), Function("rosenbrock_grad"), start, 60, lrs)
    with case_of("a rate that throws the point out of the valley", student.transcript[-1][0]):
        best, losses = items(got, ("best", "losses"))
        same(losses, np.array(want[1]), "the list of losses")
        same(best, want[0], "the best rate")


def sweep_with(
    judge: Callable[[list[float]], int], keep: Callable[[float], float] = lambda v: v if np.isfinite(v) else np.inf
) -> Step:
    """A sweep that picks by `judge` and replaces each loss by `keep` of it."""

    def wrong(step: Any, loss: Any, grad: Any, start: Any, n_steps: int, lrs: Any) -> Any:
        with np.errstate(all="ignore"):
            losses = [keep(float(loss(ref.minimize(step, grad, start, n_steps, lr=lr)[-1]))) for lr in lrs]
        return lrs[judge(losses)], losses

    return wrong


def sweep_nan_reported(step: Any, loss: Any, grad: Any, start: Any, n_steps: int, lrs: Any) -> Any:
    _, losses = sweep_nan(step, loss, grad, start, n_steps, lrs)
    return lrs[int(np.argmin([value if np.isfinite(value) else np.inf for value in losses]))], losses


def first_best(losses: list[float]) -> int:
    return int(np.argmin(losses))


def by_comparison(losses: list[float]) -> int:
    return losses.index(min(losses))


def last_best(losses: list[float]) -> int:
    return len(losses) - 1 - int(np.argmin(losses[::-1]))


sweep_nan = sweep_with(first_best, lambda v: v)
sweep_nan_by_min = sweep_with(by_comparison, lambda v: v)
sweep_nan_only = sweep_with(first_best, lambda v: np.inf if np.isnan(v) else v)
sweep_nan_as_zero = sweep_with(first_best, lambda v: v if np.isfinite(v) else 0.0)
sweep_worst = sweep_with(lambda losses: int(np.argmax(losses)))
sweep_last_tie = sweep_with(last_best)


def sweep_index(step: Any, loss: Any, grad: Any, start: Any, n_steps: int, lrs: Any) -> Any:
    best, losses = right_sweep(step, loss, grad, start, n_steps, lrs)
    return list(lrs).index(best), losses


def sweep_continues(step: Any, loss: Any, grad: Any, start: Any, n_steps: int, lrs: Any) -> Any:
    losses, point = [], start
    with np.errstate(all="ignore"):
        for lr in lrs:
            point = ref.minimize(step, grad, point, n_steps, lr=lr)[-1]
            value = float(loss(point))
            losses.append(value if np.isfinite(value) else np.inf)
    return lrs[int(np.argmin(losses))], losses


def sweep_runs_twice(step: Any, loss: Any, grad: Any, start: Any, n_steps: int, lrs: Any) -> Any:
    best, losses = right_sweep(step, loss, grad, start, n_steps, lrs)
    right_sweep(step, loss, grad, start, n_steps, [best])
    return best, losses


def sweep_lowest_on_the_way(step: Any, loss: Any, grad: Any, start: Any, n_steps: int, lrs: Any) -> Any:
    losses = []
    with np.errstate(all="ignore"):
        for lr in lrs:
            values = [float(loss(point)) for point in ref.minimize(step, grad, start, n_steps, lr=lr)]
            losses.append(min(value if np.isfinite(value) else np.inf for value in values))
    return lrs[int(np.argmin(losses))], losses


SWEEP = Exercise(
    name="sweep",
    title="Choose a learning rate by trying",
    functions=("sweep",),
    hints=(
        "For each rate: one call of minimize, then the loss of the last point of its history.",
        "What is min([nan, 1.0])? And np.argmin? Make every loss that is not finite infinite before you compare.",
        "Collect one number for each rate in a list: the loss of the last row, or np.inf where np.isfinite says no. "
        "np.argmin of that list is the place of the best rate in lrs, and the first of equals.",
    ),
    checks=(every_rate, diverged, tie, valley_sweep),
    mistakes=(
        Mistake(
            name="nan-wins",
            advice="nan is neither smaller nor larger than anything, and np.argmin takes it for the minimum: give "
            "every "
            "run whose loss is not finite the loss np.inf.",
            replaces={"sweep": sweep_nan},
            variants=({"sweep": sweep_nan_by_min}, {"sweep": sweep_nan_only}),
        ),
        Mistake(
            name="diverged-loss-left-as-it-is",
            advice="The right rate wins, but the list still holds nan or an infinity of the wrong sign: a diverged "
            "run has "
            "the loss np.inf there as well.",
            replaces={"sweep": sweep_nan_reported},
        ),
        Mistake(
            name="diverged-counted-as-zero",
            advice="A diverged run got the loss 0, the best there is: give it np.inf.",
            replaces={"sweep": sweep_nan_as_zero},
        ),
        Mistake(
            name="highest-loss-wins",
            advice="The best rate is the one with the lowest last loss; yours has the highest.",
            replaces={"sweep": sweep_worst},
        ),
        Mistake(
            name="last-of-equals-wins",
            advice="Of two equally good rates the first wins: replace the best only by one that is strictly better.",
            replaces={"sweep": sweep_last_tie},
        ),
        Mistake(
            name="index-instead-of-rate",
            advice="np.argmin gives a place in the list; the rate that stands there, lrs[place], is asked for.",
            replaces={"sweep": sweep_index},
        ),
        Mistake(
            name="next-run-starts-where-the-last-ended",
            advice="Each rate must begin at the same start; yours goes on from where the rate before it arrived.",
            replaces={"sweep": sweep_continues},
        ),
        Mistake(
            name="rates-run-twice",
            advice="A run costs n_steps gradients: run minimize once with each rate, and keep its last loss.",
            replaces={"sweep": sweep_runs_twice},
        ),
        Mistake(
            name="lowest-loss-on-the-way",
            advice="Runs are judged by where they end; a run may pass through a low point and leave it again.",
            replaces={"sweep": sweep_lowest_on_the_way},
        ),
    ),
)

# --- the picture -----------------------------------------------------------------------------------------------------

# Name, function, rate, colour, and the width of its way: the ways lie on each other, so the first are drawn widest.
# The rates of momentum, RMSProp and Adam are the best of 1, 2, 5, 10, ... times a power of ten for the noisy runs.
RUNS = (
    ("AdaGrad", "adagrad_step", 0.5, "C3", 6.0),
    ("RMSProp", "rmsprop_step", 0.005, "C1", 4.5),
    ("Adam", "adam_step", 0.02, "C2", 3.0),
    ("momentum", "momentum_step", 0.001, "C0", 1.2),
)
SLOW_ADAM = ("adam_step", 0.001)
MARKED_STEP = 500


def draw_picture(student: Any, figure: Any) -> None:
    """Ways down the valley by the student's optimisers, and their losses when every gradient is noisy."""
    left, right = figure.subplots(1, 2)
    start, exact = np.array([-1.5, 2.0]), Function("rosenbrock_grad")

    def way(function: str, lr: float, gradient: Any) -> Array:
        history = student.minimize(Function(function), gradient, start, STEPS, lr=lr)
        return numbers(history, (STEPS + 1, 2), "the history")

    def noisy_loss(function: str, lr: float) -> Array:
        noisy = student.call("noisy", exact, 0.3, np.random.default_rng(312), keep=True)
        return heights(way(function, lr, noisy))

    x, y = np.meshgrid(np.linspace(-2.1, 1.7, 240), np.linspace(-0.9, 3.3, 240))
    z = np.log10(heights(np.stack([x.ravel(), y.ravel()], axis=1)).reshape(x.shape) + 1e-3)
    left.contourf(x, y, z, levels=np.arange(-3, 4.1, 0.5), cmap="Greys", alpha=0.3)
    for name, function, lr, color, width in RUNS:
        path = way(function, lr, exact)
        left.plot(*path.T, color=color, lw=width, solid_joinstyle="round")
        left.plot(*path[MARKED_STEP], "o", color=color, ms=9, mec="k", zorder=5)
        right.semilogy(noisy_loss(function, lr), color=color, lw=1, label=f"{name}, lr = {lr:g}")
    right.semilogy(noisy_loss(*SLOW_ADAM), "--", color="C2", lw=1, label=f"Adam, lr = {SLOW_ADAM[1]:g}")
    left.plot([], [], "o", color="w", ms=9, mec="k", label=f"after {MARKED_STEP} steps")
    left.plot(*start, "ks", ms=6, label="start", zorder=6)
    left.plot(1, 1, "k*", ms=12, label="minimum", zorder=6)
    left.set(xlabel="x", ylabel="y", xlim=(-2.1, 1.7), ylim=(-0.9, 3.3), title="Exact gradients: the ways taken")
    left.legend(fontsize=8, loc="upper center")
    right.set(xlabel="step", ylabel="loss f(x, y)", title="Noise of 0.3 on every gradient: the losses")
    right.legend(frameon=False, fontsize=8, loc="lower left")


CHAPTER = Chapter(
    id="ch312",
    slug="optimisers",
    title="Optimisers: Adam, RMSProp, Momentum",
    part="Training engineering",
    summary="Five optimisers as pure steps with their memory passed in and out, a run down Rosenbrock's valley, and a "
    "sweep over learning rates.",
    builds_on=("ch307", "ch311"),
    exercises=(MOMENTUM, ADAGRAD, RMSPROP, ADAM, ADAMW, MINIMIZE, SWEEP),
    picture=Picture(title="How your optimisers go down Rosenbrock's valley", draw=draw_picture),
)
