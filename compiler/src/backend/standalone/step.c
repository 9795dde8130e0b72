/* What is kept from token to token. */

void model_reset(model *m)
{
    float *state = model_state(m);
    uint32_t *seen = model_seen(m);
    uint32_t part = 0;
    uint32_t at = 0;
    while (part < MODEL_STATES) {
        while (at < model_state_ends[part]) {
            state[at] = model_state_starts[part];
            at += 1;
        }
        part += 1;
    }
    seen[0] = 0;
}

void model_init(model *m)
{
    float *scratch = model_scratch(m);
    uint32_t *recent = model_recent(m);
    uint32_t at = 0;
    while (at < MODEL_SCRATCH) {
        scratch[at] = 0.0f;
        at += 1;
    }
    at = 0;
    while (at < MODEL_WINDOW) {
        recent[at] = 0;
        at += 1;
    }
    model_reset(m);
}

const float *model_step(model *m, uint32_t token)
{
    uint32_t *recent = model_recent(m);
    uint32_t *seen = model_seen(m);
    uint32_t at = 0;
    if (token >= MODEL_VOCABULARY) {
        return 0;
    }
    while (at + 1 < MODEL_WINDOW) {
        recent[at] = recent[at + 1];
        at += 1;
    }
    recent[MODEL_WINDOW - 1] = token;
    if (seen[0] < MODEL_WINDOW) {
        seen[0] += 1;
    }
    if (seen[0] < MODEL_WINDOW) {
        return 0;
    }
    model_compute(m);
    return model_probabilities(m);
}
