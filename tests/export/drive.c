/* Reads the tokens of a text with a model, and compares what it says of each with what it should. MODEL is its prefix.
 *
 * MODEL_check TOKENS EXPECTED: files of uint32_t and float, one distribution for each MODEL_WINDOW tokens. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PASTE(a, b) a##b
#define JOIN(a, b) PASTE(a, b)
#define M(name) JOIN(MODEL, name)

/* Reads a file into some room. */
static size_t contents(const char *path, void *to, size_t room)
{
    FILE *file = fopen(path, "rb");
    size_t bytes;
    if (!file) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(1);
    }
    bytes = fread(to, 1, room, file);
    fclose(file);
    return bytes;
}

int M(_check)(const char *tokens_path, const char *expected_path)
{
    static MODEL model, fork;
    static uint32_t tokens[10000];
    static float expected[1000000];
    size_t i, j, at = 0;
    size_t count = contents(tokens_path, tokens, sizeof tokens) / 4;
    size_t bytes = contents(expected_path, expected, sizeof expected);
    double worst = 0.0;
    M(_init)(&model);
    for (i = 0; i < count; i++) {
        const float *p = M(_step)(&model, tokens[i]);
        /* A window is whole after as many tokens; those in between are not in the file. */
        if ((i + 1) % (sizeof model.recent / 4) != 0) {
            continue;
        }
        if (!p) {
            fprintf(stderr, "no distribution after token %lu\n", (unsigned long)i);
            return 1;
        }
        for (j = 0; j < sizeof model.order / 4; j++, at++) {
            double off = fabs((double)p[j] - (double)expected[at]);
            if (!(off <= worst)) {
                worst = off;
            }
        }
        if (i == count / 2 / (sizeof model.recent / 4) * (sizeof model.recent / 4) + sizeof model.recent / 4 - 1) {
            /* Another text, begun here as a copy of this one, does not disturb it; and ends as this one does. */
            memcpy(&fork, &model, sizeof model.state + sizeof model.recent + sizeof model.seen);
            M(_reset)(&model);
            M(_step)(&model, tokens[0]);
            memcpy(&model, &fork, sizeof model.state + sizeof model.recent + sizeof model.seen);
        }
    }
    if (at * 4 != bytes) {
        fprintf(stderr, "%lu probabilities, not %lu\n", (unsigned long)at, (unsigned long)bytes / 4);
        return 1;
    }
    if (M(_step)(&model, (uint32_t)(sizeof model.order / 4)) != 0) {
        fprintf(stderr, "a token that is none was read\n");
        return 1;
    }
    /* Sums are taken in another order than lstmc's: some units in the last place of numbers up to 1. */
    printf("%.2e\n", worst);
    return worst <= 1e-5 ? 0 : 1;
}
