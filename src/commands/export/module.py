r"""{notes}

    model = Model()
    for token in [...]:
        probabilities = model.step(token)
    print(model.word(model.sample(seed=1)))
"""

import ctypes
import pathlib

_library = ctypes.CDLL(str(pathlib.Path(__file__).resolve().parent / {quoted}))
_pointer, _token = ctypes.c_void_p, ctypes.c_uint32


def _function(name, result, *arguments):
    function = getattr(_library, "{prefix}_" + name)
    function.restype, function.argtypes = result, arguments
    return function


_new = _function("new", _pointer)
_free = _function("free", None, _pointer)
_reset = _function("reset", None, _pointer)
_step = _function("step", ctypes.POINTER(ctypes.c_float), _pointer, _token)
_sample = _function(
    "sample", _token, _pointer, ctypes.c_double, _token, ctypes.c_double, ctypes.c_uint64, ctypes.c_uint64
)
_word = _function("word", ctypes.c_char_p, _token)
_find = _function("token", _token, ctypes.c_char_p, ctypes.c_size_t)

VOCABULARY = {vocabulary}
WINDOW = {window}
_TEXT_BYTES = {text_bytes}
_NONE = 0xFFFFFFFF


class Model:
    """A text that the model reads or writes. Several may be used at once, each by one thread at a time."""

    def __init__(self):
        self._model = _new()
        if not self._model:
            raise MemoryError("no memory for a model")
        self._chosen = 0
        self._known = False

    def __del__(self):
        _free(getattr(self, "_model", None))

    def reset(self):
        """Begins another text."""
        _reset(self._model)
        self._chosen, self._known = 0, False

    def step(self, token):
        """Reads a token. Returns how likely each token is to come next, as ctypes floats that last until the next step;
        None if there are fewer than WINDOW yet."""
        if not 0 <= token < VOCABULARY:
            raise ValueError(f"{token} is no token: they are below {VOCABULARY}")
        found = _step(self._model, token)
        self._known = bool(found)
        if not found:
            return None
        probabilities = ctypes.cast(found, ctypes.POINTER(ctypes.c_float * VOCABULARY)).contents
        # They lie in the model.
        probabilities.model = self
        return probabilities

    def sample(self, temperature=1.0, top_k=0, top_p=1.0, seed=0, index=None):
        """Chooses a token by the last distribution. The index counts up by itself unless it is given."""
        if not self._known:
            raise ValueError("nothing to choose from: read a token first")
        index = self._chosen if index is None else index
        self._chosen = index + 1
        return _sample(self._model, temperature, top_k, top_p, seed, index)

    def save(self):
        """The text as bytes, to go on from it again."""
        return ctypes.string_at(self._model, _TEXT_BYTES)

    def restore(self, text):
        """Goes on from a text that was saved: with its next token."""
        if len(text) != _TEXT_BYTES:
            raise ValueError("this was not saved by this model")
        ctypes.memmove(self._model, text, _TEXT_BYTES)
        self._known = False

    @staticmethod
    def word(token):
        """A token's word; empty if it has none."""
        return _word(token).decode()

    @staticmethod
    def token(word):
        """A word's token: the one for unknown words if it is not known, or None if there is none."""
        found = _find(word.encode(), len(word.encode()))
        return None if found == _NONE else found
{encode}
