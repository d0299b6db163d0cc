"""Chapter 320: Embeddings and Representation Learning

A network computes with vectors, and words are not vectors. An embedding gives each token a row of a table, and the
table is learned like any other weight matrix. You write the lookup and its gradient, measure which rows are alike, and
train a table from nothing but which words stand near which (skip-gram), until king - man + woman comes out as queen.

Conventions, here and in every chapter:
  - token ids are whole numbers from 0 to V - 1 in arrays of any shape, for example (B, T); a table is (V, d), one row a
    token;
  - skip-gram has two tables, in a dict {"W_in": (V, d), "W_out": (V, d)}: a word has one vector as the centre and
    another as the context. Gradients have the same keys and shapes;
  - a loss is a mean over the pairs, and a gradient is the gradient of that mean;
  - functions accept any array of numbers, or plain lists, work in float64, and never modify what they are given.

Run `dlgrade check ch320` as often as you like; `dlgrade hint ch320 embedding_backward` helps you on.
"""

import numpy as np

# Given: a small language. Noun 2k + g is of kind k (0 to 3) and gender g (0 or 1); things and pronouns come after them.
WORDS = ["king", "queen", "man", "woman", "boy", "girl", "actor", "actress"]
WORDS += ["crown", "work", "school", "stage", "he", "she"]


def toy_corpus(count, rng):
    """Given: sentences of three words, thing, noun and pronoun, such as "crown queen she": ids, (count, 3)."""
    kind, gender = rng.integers(4, size=count), rng.integers(2, size=count)
    return np.stack([8 + kind, 2 * kind + gender, 12 + gender], axis=1)


def embedding_forward(ids, table):
    """Look up the rows of a table.

        out[i] = table[ids[i]]        which is what one_hot(ids) @ table would give, without the product

    ids:   whole numbers from 0 to V - 1, any shape, for example (T,) or (B, T).
    table: (V, d).
    Returns an array of the shape of ids with one axis more, (..., d). Raises IndexError if an id lies outside of
    0..V-1. That includes negative ones: NumPy would count them from the end, and a padding id of -1 would quietly
    become the last word.

    Example: embedding_forward([2, 0, 2], [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]) gives
             [[5.0, 6.0], [1.0, 2.0], [5.0, 6.0]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("embedding_forward is still to do")


def embedding_backward(dout, ids, n_rows):
    """The gradient of the table.

    A row of the table gets the gradients of all the places where it was looked up, added together:

        dtable[v] = sum of dout[i] over all i with ids[i] = v        a row that nobody asked for gets zeros

    Mind that `dtable[ids] += dout` does not do that: of the places with the same id, only one survives. np.add.at
    is made for it.

    dout:   gradient of the loss at out, (..., d).
    ids:    as in the forward pass, (...), without the last axis.
    n_rows: V, how many rows the table has.
    Returns dtable, (V, d).

    Example: embedding_backward([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [2, 0, 2], 3) gives
             [[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]], because 1 + 5 = 6 and 2 + 6 = 8.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("embedding_backward is still to do")


def cosine_similarity(table, query):
    """How alike in direction a vector is to each row of a table, whatever their lengths.

        cos_v = (row_v . query) / (|row_v| |query|)        from -1 to 1

    The length of a word vector says more about how often the word comes than about what it means. If a row or the
    query is all zeros it has no direction: the similarity is 0, and not nan.

    table: (V, d).
    query: (d,).
    Returns an array (V,).

    Example: cosine_similarity([[2.0, 0.0], [3.0, 4.0], [0.0, 0.0]], [10.0, 0.0]) gives [1.0, 0.6, 0.0].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("cosine_similarity is still to do")


def nearest(table, query, k=1, exclude=()):
    """The ids of the k rows most similar to a vector, by cosine, the best first.

    Ids in `exclude` take no part. Of equally similar rows the lower id comes first. If fewer than k rows are left, all
    of them are returned.

    table:   (V, d).
    query:   (d,).
    k:       a whole number, at least 1.
    exclude: ids, a tuple or a list.
    Returns an array or a list of whole numbers, (k,).

    Example: nearest([[1.0, 0.0], [5.0, 5.0], [-1.0, 0.0], [2.0, 0.0]], [3.0, 0.0], 3) gives [0, 3, 1]; with
             exclude=(0,) it gives [3, 1, 2].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("nearest is still to do")


def analogy(table, a, b, c):
    """ "a is to b as c is to ...?"

    The answer is the row nearest, by cosine, to row b - row a + row c, and it is never a, b or c itself. Without that
    rule the "answer" is often one of the words of the question, for b - a may be short, and then c is nearest to
    itself. (Train vectors of only 4 dimensions, with a window of 2, on the small language as described at the end of
    this file: over 100 runs, 1.6 of 24 answers would be words of the question, and in the worst run 8.)

    table:   (V, d); take its rows as they are, whatever their lengths.
    a, b, c: ids.
    Returns one id, a whole number.

    Example: with table = [[1, 0, 0.2], [1, 0.3, 0.2], [1, 0, 2], [1, 0.7, 2], [-1, 1, 0]] for man, woman, king, queen
             and fish, analogy(table, 0, 1, 2) gives 3, although king itself lies nearer to the sum.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("analogy is still to do")


def skipgram_pairs(tokens, window):
    """All pairs of a word and a word near it.

    Every position of the sentence is the centre once, the first and the last as well. It is paired with every OTHER
    position at most `window` away, as far as the sentence goes: at its ends there are fewer. The same word may stand at
    two positions; they are different positions all the same.

    tokens: the ids of one sentence, (N,).
    window: a whole number, at least 1.
    Returns an array of ids, (P, 2): a centre and its context in each row. The rows are in the order of the centre's
    position, and for one centre in the order of the context's. A sentence of one word has no pairs.

    Example: skipgram_pairs([7, 8, 9], 1) gives [[7, 8], [8, 7], [8, 9], [9, 8]].
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("skipgram_pairs is still to do")


def skipgram_softmax(centers, contexts, params):
    """The loss of guessing the context from the centre, with a softmax over the whole vocabulary, and its gradients.

    For a pair with v = W_in[centre], every word w has the score s_w = W_out[w] . v, and

        loss = mean over the pairs of  -log softmax(s)[context]

    So at the scores of one pair, the gradient is (softmax(s) - one_hot(context)) / B. A centre that comes twice
    collects both of its gradients. Be exact for scores of 10,000: subtract the maximum, take the logarithm of the sum.

    centers:  ids, (B,).
    contexts: ids, (B,).
    params:   dict with W_in (V, d) and W_out (V, d).
    Returns (loss, grads): a number, and a dict with the keys and the shapes of params.

    Example: skipgram_softmax([0], [1], {"W_in": [[1.0], [0.0]], "W_out": [[0.0], [0.0]]}) gives
             (log 2, {"W_in": [[0.0], [0.0]], "W_out": [[0.5], [-0.5]]}).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("skipgram_softmax is still to do")


def skipgram_negative_sampling(centers, contexts, negatives, params):
    """The cheap loss: tell the true context from K words drawn at random, and its gradients.

    A softmax over a large vocabulary costs V products a pair; this costs K + 1. With v = W_in[centre], u = W_out of the
    context and u_k = W_out of the K negatives,

        loss = mean over the pairs of  -log sigmoid(u . v) - sum_k log sigmoid(-u_k . v)

    Mind the minus inside: a negative should have a LOW score. The negatives are summed, not averaged. The derivative
    of -log sigmoid(s) is sigmoid(s) - 1, that of -log sigmoid(-s) is sigmoid(s). A negative may be drawn twice, or be
    the true context: it counts every time. Be exact for scores of 10,000: -log sigmoid(s) = log(1 + exp(-s)), and
    np.logaddexp(0, -s) never overflows.

    centers:   ids, (B,).
    contexts:  ids, (B,).
    negatives: ids, (B, K), the same K for each pair, at least 1.
    params:    dict with W_in (V, d) and W_out (V, d).
    Returns (loss, grads): a number, and a dict with the keys and the shapes of params.

    Example: skipgram_negative_sampling([0], [1], [[0, 0]], {"W_in": [[1.0], [0.0]], "W_out": [[0.0], [0.0]]}) gives
             (3 log 2, {"W_in": [[0.0], [0.0]], "W_out": [[1.0], [-0.5]]}).
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("skipgram_negative_sampling is still to do")


def draw_negatives(counts, shape, rng):
    """Draw words at random, frequent ones more often, but not by as much as they are more frequent.

        probability of w = counts_w^0.75 / sum over all words of counts^0.75

    With the power 0.75 a word that comes 10,000 times as often is drawn 1,000 times as often. (It was found by trying.)
    Every single draw is independent of the others; a word that never comes is never drawn.

    counts: how often each word comes, (V,), not all zero.
    shape:  shape of the result, for example (B, K).
    rng:    a np.random.Generator, the only source of randomness; how you draw from it is up to you.
    Returns an array of ids of that shape, whole numbers.

    Example: for counts [16, 1, 0, 81] the probabilities are 8/36, 1/36, 0 and 27/36.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("draw_negatives is still to do")


def train_skipgram(pairs, n_words, dim, steps, lr, rng):
    """Learn word vectors: gradient descent on skipgram_softmax, every step with all pairs.

    Both tables begin with normal numbers of standard deviation 0.1, W_in drawn first, then W_out, each in one call,
    rng.normal(scale=0.1, size=(V, d)). (Zeros would never move: each table's gradient is made of the other.)

    pairs:   centres and contexts, ids, (P, 2).
    n_words: V; dim: d, the length of the vectors.
    steps:   how many steps; lr: the learning rate.
    Returns (params, losses): the dict of both tables, and the loss before each step, an array (steps,).

    Example: train_skipgram([[0, 1], [1, 0]], 2, 3, 50, 1.0, np.random.default_rng(0)) takes the loss from about 0.69 to
             below 0.05.

    Then try it on the small language. Cut 80 sentences of toy_corpus into pairs with a window of 1, and train its 14
    words in 8 dimensions for 100 steps with lr = 2. Of the 24 analogies between the nouns (man is to woman as king is
    to ...) your vectors should get all right; ours did in each of 300 runs. Nobody has told them what a queen is. But
    do not expect it of every text: this language has two properties, kind and gender, and each shows in a neighbour of
    its own. With a window of 2 and 4 dimensions it is 20.5 of 24 on average, and real language is less tidy still.
    """
    # TODO: write your answer here, and delete the line below.
    raise NotImplementedError("train_skipgram is still to do")
