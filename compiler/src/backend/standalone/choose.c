/* No library function is used, so that this is the same everywhere. */
static uint64_t model_mix(uint64_t x)
{
    /* The finaliser of splitmix64 (Steele, Lea and Flood 2014). */
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* In [0, 1), as lstmc draws it. */
static double model_uniform(uint64_t seed, uint64_t index)
{
    uint64_t key = model_mix(seed ^ MODEL_PURPOSE);
    uint64_t bits = model_mix(key + index * 0x9e3779b97f4a7c15u);
    return (double)(bits >> 11) / 9007199254740992.0;
}

/* x to the power y, for 0 < x <= 1 and y > 0. */
static double model_power(double x, double y)
{
    double halvings = 0.0;
    double square = 0.0;
    double sum = 0.0;
    double term = 1.0;
    double n = 1.0;
    if (x == 1.0 || y == 1.0) {
        return x;
    }
    /* ln(x) = 2 artanh((x - 1) / (x + 1)) - halvings * ln(2), with x in [1, 2) */
    while (x < 1.0) {
        x *= 2.0;
        halvings += 1.0;
    }
    term = (x - 1.0) / (x + 1.0);
    square = term * term;
    while (n < 60.0) {
        sum += term / n;
        term *= square;
        n += 2.0;
    }
    y *= 2.0 * sum - halvings * 0.69314718055994530942;
    if (y < -700.0) {
        return 0.0;
    }
    /* e^y = (e^(y / 1024))^1024 */
    y /= 1024.0;
    sum = 1.0;
    term = 1.0;
    n = 1.0;
    while (n < 14.0) {
        term *= y / n;
        sum += term;
        n += 1.0;
    }
    n = 1.0;
    while (n < 1024.0) {
        sum *= sum;
        n *= 2.0;
    }
    return sum;
}

/* Whether token a is chosen before token b: the likelier first, of equals the lower. */
static int model_before(const float *p, uint32_t a, uint32_t b)
{
    return p[a] > p[b] || (p[a] == p[b] && a < b);
}

/* Puts the element at `at` of a heap, whose first element is before all others, in its place. */
static void model_sift(const float *p, uint32_t *heap, uint32_t at, uint32_t count)
{
    uint32_t token = heap[at];
    uint32_t next = 2 * at + 1;
    while (next < count) {
        if (next + 1 < count && model_before(p, heap[next + 1], heap[next])) {
            next += 1;
        }
        if (model_before(p, token, heap[next])) {
            break;
        }
        heap[at] = heap[next];
        at = next;
        next = 2 * at + 1;
    }
    heap[at] = token;
}

/* Takes the first of a heap of `count` tokens out of it, and leaves it behind the others. */
static uint32_t model_take(const float *p, uint32_t *heap, uint32_t count)
{
    uint32_t first = heap[0];
    heap[0] = heap[count - 1];
    model_sift(p, heap, 0, count - 1);
    heap[count - 1] = first;
    return first;
}

/* The most likely token, the first of equals. */
static uint32_t model_best(const float *p)
{
    uint32_t best = MODEL_FIRST;
    uint32_t token = MODEL_FIRST;
    while (token < MODEL_VOCABULARY) {
        if (p[token] > p[best] || p[best] != p[best]) {
            best = token;
        }
        token += 1;
    }
    return best;
}

uint32_t model_sample(model *m, double temperature, uint32_t top_k, double top_p, uint64_t seed, uint64_t index)
{
    const float *p = model_probabilities(m);
    uint32_t *heap = model_order(m);
    uint32_t best = model_best(p);
    double largest = (double)p[best];
    uint32_t candidates = 0;
    uint32_t count = 0;
    uint32_t at = MODEL_FIRST;
    uint32_t limit = 0;
    double total = 0.0;
    double reached = 0.0;
    if (!(temperature > 0.0) || !(largest > 0.0)) {
        return best;
    }
    while (at < MODEL_VOCABULARY) {
        if (p[at] > 0.0f) {
            heap[candidates] = at;
            candidates += 1;
        }
        at += 1;
    }
    at = candidates / 2;
    while (at > 0) {
        at -= 1;
        model_sift(p, heap, at, candidates);
    }
    limit = candidates;
    if (top_k > 0 && top_k < limit) {
        limit = top_k;
    }
    /* What has been taken lies behind the heap, the first one last. */
    at = 0;
    while (at < limit) {
        if (limit < candidates || top_p < 1.0) {
            best = model_take(p, heap, candidates - at);
            count = at + 1;
        } else {
            best = heap[at];
        }
        total += model_power((double)p[best] / largest, 1.0 / temperature);
        at += 1;
    }
    if (top_p < 1.0) {
        at = 0;
        reached = 0.0;
        while (at < limit) {
            best = heap[candidates - 1 - at];
            reached += model_power((double)p[best] / largest, 1.0 / temperature);
            at += 1;
            if (reached >= top_p * total) {
                limit = at;
            }
        }
        total = reached;
    }
    total *= model_uniform(seed, index);
    at = 0;
    while (at < limit) {
        if (at == count) {
            model_take(p, heap, candidates - at);
            count += 1;
        }
        best = heap[candidates - 1 - at];
        reached = model_power((double)p[best] / largest, 1.0 / temperature);
        if (total < reached) {
            return best;
        }
        total -= reached;
        at += 1;
    }
    return best;
}

const char *model_word(uint32_t token)
{
    /* Below MODEL_FIRST the difference is larger too. */
    if (token - MODEL_FIRST >= MODEL_WORDS) {
        return (const char *)(model_text + model_starts[MODEL_WORDS]);
    }
    return (const char *)(model_text + model_starts[token - MODEL_FIRST]);
}

/* Below 0, 0 or above 0 as a word comes before, is or comes after these bytes. */
static int model_compare(const char *word, const char *bytes, size_t length)
{
    size_t at = 0;
    while (at < length && word[at] == bytes[at]) {
        at += 1;
    }
    if (at < length) {
        if ((unsigned char)word[at] < (unsigned char)bytes[at]) {
            return -1;
        }
        return 1;
    }
    if (word[at] == 0) {
        return 0;
    }
    return 1;
}

uint32_t model_token(const char *bytes, size_t length)
{
    uint32_t low = 0;
    uint32_t high = MODEL_WORDS;
    uint32_t middle = 0;
    int order = 0;
    while (low < high) {
        middle = low + (high - low) / 2;
        order = model_compare((const char *)(model_text + model_starts[model_sorted[middle]]), bytes, length);
        if (order == 0) {
            return model_sorted[middle] + MODEL_FIRST;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return MODEL_UNKNOWN;
}
