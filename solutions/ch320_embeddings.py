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
    ### BEGIN SOLUTION
    ids = np.asarray(ids, dtype=np.int64)
    table = np.asarray(table, dtype=np.float64)
    if np.any(ids < 0) or np.any(ids >= len(table)):
        raise IndexError("an id is outside of the table")
    return table[ids]
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    dout = np.asarray(dout, dtype=np.float64)
    ids = np.asarray(ids, dtype=np.int64)
    dtable = np.zeros((n_rows, dout.shape[-1]))
    # Unlike +=, add.at adds once for every place, however often an id comes.
    np.add.at(dtable, ids, dout)
    return dtable
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    table = np.asarray(table, dtype=np.float64)
    query = np.asarray(query, dtype=np.float64)
    lengths = np.sqrt(np.sum(table**2, axis=1)) * np.sqrt(np.sum(query**2))
    # Where a length is 0 the product above it is 0 too: dividing that by 1 leaves 0.
    return (table @ query) / np.where(lengths == 0.0, 1.0, lengths)
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    # Sorting the negative puts the most similar first, and a stable sort leaves equals in the order of their ids.
    ranking = np.argsort(-cosine_similarity(table, query), kind="stable")
    return [int(v) for v in ranking if v not in exclude][:k]
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    table = np.asarray(table, dtype=np.float64)
    return nearest(table, table[b] - table[a] + table[c], k=1, exclude=(a, b, c))[0]
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    pairs = []
    for i in range(len(tokens)):
        # From window places before to window places after, cut off at both ends of the sentence.
        for j in range(max(0, i - window), min(len(tokens), i + window + 1)):
            if j != i:
                pairs.append((tokens[i], tokens[j]))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    centers, contexts = np.asarray(centers, dtype=np.int64), np.asarray(contexts, dtype=np.int64)
    W_out = np.asarray(params["W_out"], dtype=np.float64)
    v = embedding_forward(centers, params["W_in"])
    batch = len(centers)
    scores = v @ W_out.T
    shifted = scores - np.max(scores, axis=1, keepdims=True)
    log_p = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    rows = np.arange(batch)
    loss = -np.sum(log_p[rows, contexts]) / batch
    dscores = np.exp(log_p)
    dscores[rows, contexts] -= 1.0
    dscores /= batch
    # scores = v W_out^T: each of the two gets the gradient through the other.
    grads = {
        "W_in": embedding_backward(dscores @ W_out, centers, len(W_out)),
        "W_out": dscores.T @ v,
    }
    return loss, grads
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    centers = np.asarray(centers, dtype=np.int64)
    # Column 0 is the true context, the others are negatives: one lookup for all of them.
    words = np.column_stack([np.asarray(contexts, dtype=np.int64), np.asarray(negatives, dtype=np.int64)])
    v = embedding_forward(centers, params["W_in"])
    u = embedding_forward(words, params["W_out"])
    batch, n_rows = len(centers), len(params["W_in"])
    scores = np.sum(u * v[:, None, :], axis=2)
    is_context = np.zeros(scores.shape)
    is_context[:, 0] = 1.0
    # -log sigmoid(s) for the context, -log sigmoid(-s) for a negative: the sign of s differs, no more.
    losses = np.logaddexp(0.0, np.where(is_context == 1.0, -scores, scores))
    # sigmoid(s) = exp(-log(1 + exp(-s))), which never overflows.
    dscores = (np.exp(-np.logaddexp(0.0, -scores)) - is_context) / batch
    dv = np.sum(dscores[:, :, None] * u, axis=1)
    du = dscores[:, :, None] * v[:, None, :]
    grads = {"W_in": embedding_backward(dv, centers, n_rows), "W_out": embedding_backward(du, words, n_rows)}
    return np.sum(losses) / batch, grads
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    weights = np.asarray(counts, dtype=np.float64) ** 0.75
    return rng.choice(len(weights), size=shape, p=weights / np.sum(weights))
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    pairs = np.asarray(pairs, dtype=np.int64)
    params = {}
    for name in ("W_in", "W_out"):
        params[name] = rng.normal(scale=0.1, size=(n_words, dim))
    losses = np.zeros(steps)
    for step in range(steps):
        losses[step], grads = skipgram_softmax(pairs[:, 0], pairs[:, 1], params)
        params = {name: params[name] - lr * grads[name] for name in params}
    return params, losses
    ### END SOLUTION
