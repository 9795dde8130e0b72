
    @staticmethod
    def encode(text):
        """The tokens of a text; None of what is not known."""
        text = text.encode()
        count = _encode(text, None, 0)
        tokens = (_token * count)()
        _encode(text, tokens, count)
        return [None if token == _NONE else token for token in tokens]

    def generate(self, prompt, length, **how):
        """What follows a prompt, from the beginning of a text. `how` is as in sample."""
        self.reset()
        for token in self.encode(prompt):
            if token is None:
                raise ValueError("the prompt has words that the model does not know")
            self.step(token)
        words = []
        for _ in range(length):
            token = self.sample(**how)
            words.append(self.word(token))
            self.step(token)
        return "{between}".join(words)


_encode = _function("encode", ctypes.c_size_t, ctypes.c_char_p, ctypes.POINTER(_token), ctypes.c_size_t)
