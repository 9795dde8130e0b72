/* By the C library, for those who do not say where. */

model *model_new(void)
{
    model *m = (model *)malloc(MODEL_RAM_BYTES);
    if (m != 0) {
        model_init(m);
    }
    return m;
}

void model_free(model *m)
{
    free(m);
}
