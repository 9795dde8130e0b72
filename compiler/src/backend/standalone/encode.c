/* How many bytes of a text are the white space that it begins with, of UTF-8's kinds, but for ends of lines. */
static size_t model_space(const char *text)
{
    unsigned char a = (unsigned char)text[0];
    unsigned char b = 0;
    unsigned char c = 0;
    if (a == 32 || a == 9 || a == 11 || a == 12) {
        return 1;
    }
    if (a == 0xc2) {
        b = (unsigned char)text[1];
        if (b == 0x85 || b == 0xa0) {
            return 2;
        }
        return 0;
    }
    if (a != 0xe1 && a != 0xe2 && a != 0xe3) {
        return 0;
    }
    b = (unsigned char)text[1];
    if (b == 0) {
        return 0;
    }
    c = (unsigned char)text[2];
    if (a == 0xe1 && b == 0x9a && c == 0x80) {
        return 3;
    }
    if (a == 0xe2 && b == 0x80 && ((c >= 0x80 && c <= 0x8a) || c == 0xa8 || c == 0xa9 || c == 0xaf)) {
        return 3;
    }
    if (a == 0xe2 && b == 0x81 && c == 0x9f) {
        return 3;
    }
    if (a == 0xe3 && b == 0x80 && c == 0x80) {
        return 3;
    }
    return 0;
}

/* How many bytes a token is that a text begins with. */
static size_t model_length(const char *text)
{
    size_t length = 1;
    if (MODEL_CHARACTERS) {
        while (((unsigned char)text[length] & 0xc0) == 0x80) {
            length += 1;
        }
        return length;
    }
    while (text[length] != 0 && text[length] != 10 && text[length] != 13 && model_space(text + length) == 0) {
        length += 1;
    }
    return length;
}

size_t model_encode(const char *text, uint32_t *tokens, size_t room)
{
    size_t count = 0;
    size_t length = 0;
    uint32_t token = 0;
    while (text[0] != 0) {
        if (text[0] == 10 || text[0] == 13) {
            token = MODEL_NEWLINE;
            length = 1;
            if (text[0] == 13 && text[1] == 10) {
                length = 2;
            }
            if (MODEL_NEWLINE == MODEL_NONE) {
                text += length;
                continue;
            }
        } else {
            length = 0;
            if (!MODEL_CHARACTERS) {
                length = model_space(text);
            }
            if (length > 0) {
                text += length;
                continue;
            }
            length = model_length(text);
            token = model_token(text, length);
        }
        if (count < room) {
            tokens[count] = token;
        }
        count += 1;
        text += length;
    }
    return count;
}
