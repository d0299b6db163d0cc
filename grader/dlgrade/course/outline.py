"""The course at a glance: every chapter's number, title and part, without importing a single chapter."""

from __future__ import annotations

import msgspec


class Entry(msgspec.Struct, frozen=True):
    """A chapter as the part map names it."""

    id: str
    title: str
    part: str


_PARTS: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    (
        "Foundations",
        300,
        (
            "Deep Learning: The Two-Spiral Problem",
            "What is Deep Learning?",
            "The Perceptron",
            "Multilayer Networks",
            "Forward Pass",
            "Loss Functions",
            "Backpropagation from Scratch",
            "Stochastic Gradient Descent",
            "Initialisation Strategies",
            "Activation Functions Deep Dive",
        ),
    ),
    (
        "Training engineering",
        310,
        (
            "Batch Normalisation",
            "Dropout and Regularisation",
            "Optimisers: Adam, RMSProp, Momentum",
            "Learning Rate Schedules",
        ),
    ),
    (
        "Architectures",
        314,
        (
            "Convolutional Neural Networks",
            "Pooling and Receptive Fields",
            "CNN Architectures",
            "Recurrent Neural Networks",
            "LSTM and GRU",
            "Sequence-to-Sequence Models",
            "Embeddings and Representation Learning",
            "Attention Mechanism",
            "Transformers",
            "Positional Encoding",
        ),
    ),
    (
        "Advanced models",
        324,
        (
            "Self-Supervised Learning",
            "Generative Models: Variational Autoencoder",
            "Generative Adversarial Networks",
            "Diffusion Models Intuition",
            "Graph Neural Networks",
            "Reinforcement Learning Foundations",
            "Policy Gradients",
        ),
    ),
    (
        "Systems",
        331,
        (
            "Model Interpretability",
            "Scaling Laws",
            "Training Infrastructure",
        ),
    ),
    (
        "Projects",
        334,
        (
            "Project: Neural Net from Scratch (NumPy only)",
            "Project: CNN for Image Classification",
            "Project: Character-Level Language Model",
            "Project: Transformer Block from Scratch",
            "Project: Variational Autoencoder",
            "Project: Reinforcement Learning — CartPole",
        ),
    ),
    ("Capstone", 340, ("Capstone II: End-to-End Deep Learning System",)),
)

CHAPTERS: tuple[Entry, ...] = tuple(
    Entry(f"ch{first + i}", title, part) for part, first, titles in _PARTS for i, title in enumerate(titles)
)

PARTS: tuple[str, ...] = tuple(part for part, _, _ in _PARTS)

POINTS = 100  # a chapter's; `Chapter.points` adds up to it in every chapter


def entry(id: str) -> Entry | None:
    """The chapter with this id, if the course has it."""
    return next((e for e in CHAPTERS if e.id == id), None)
