//! Names from other libraries: what each is called here, or what to do if there is no such thing. They are for messages
//! only: none of them is accepted.

/// Where an unknown word stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The head of a block.
    Block,
    /// A key of the data block.
    Data,
    /// A key of the train block.
    Train,
    /// The name of an argument in a call.
    Argument,
    /// A layer in a chain.
    Layer,
    Optimizer,
    /// A function in an expression.
    Function,
    /// A function that a layer applies to its result.
    Activation,
    Initializer,
    Loss,
    /// The value of `tokens`.
    Tokens,
    /// The value of `batches`.
    Batches,
    /// The value of another key.
    Value,
    /// A name in an equation.
    Name,
}

/// What a name from another library means here.
enum Meaning {
    /// The first of these names that is known in this place.
    Called(&'static str),
    /// There is no such name: what to write instead, or why there is nothing.
    Said(&'static str),
}

use Meaning::{Called, Said};
use Place::*;

const NO_OTHER_TASK: &str = "lstmc trains language models and nothing else: the model predicts the next token, and the \
                             loss is `cross_entropy`. It does no classification and no regression";
const NO_FUTURE: &str =
    "lstmc has no bidirectional layers: the next token is predicted, so no layer may see it";
const NO_CONVOLUTION: &str = "lstmc has recurrent layers and layers of one step; nothing looks at several steps at once, \
                              as convolution, pooling and attention do";
const BATCHES: &str = "batches are described in the data block: `batches: stream(rows: 20, steps: 35)`";
const RATE: &str = "the learning rate is the optimizer's argument: `optimizer: sgd(rate: 0.1)`";
const CLIP: &str = "write `clip: norm(5)`";
const SCHEDULE: &str = "write `schedule: decay(0.5, after: 4)`";
const WIDTH: &str = "a width is an argument of its layer in the model block: `dense(64)`";
const OPTION: &str = "that is an option of the command: see `lstmc help train`";
const DROP: &str = "dropout is a layer of the chain: `-> dropout(0.5)`";
const WRITE_OUT: &str =
    "it does not ship; write it out as `optimizer name(p, g, rate = 0.01) { return p - rate * g }`";
const WRITE_CELL: &str = "write it as a layer of your own, with a `state` and its `next`";
const FAN_IN: &str =
    "in a layer of your own write `param W: [in, units] = normal(sqrt(2 / in))`, or `uniform(sqrt(6 / in))`";

/// Places, words as [`squash`] leaves them, with spaces between, and their meaning. If an entry does not apply, a later one
/// with the same word may.
const TABLE: &[(&[Place], &str, Meaning)] = &[
    // Blocks.
    (&[Block], "dataset corpus text input inputs", Called("data")),
    (&[Block], "network net architecture nn sequential graph", Called("model")),
    (&[Block], "training trainer fit config settings hyperparameters", Called("train")),
    (&[Block], "cell module class def fn func function block", Called("layer")),
    (&[Block], "optim optimiser update", Called("optimizer")),
    (&[Block], "import include use from", Said("a file stands alone: what ships is there without an import")),
    // Keys of the data block.
    (&[Data], "text texts path file files corpus training trainset source input dataset", Called("train")),
    (&[Data], "validation val dev eval evaluation validationset devset", Called("valid")),
    (&[Data], "testing testset heldout", Called("test")),
    (&[Data], "tokenizer tokenize tokenization level units symbols", Called("tokens")),
    (&[Data], "batch batching sequences", Called("batches")),
    (
        &[Data, Train],
        "batchsize bs rows seqlen seqlength sequencelength bptt timesteps blocksize contextlength \
         window windows stream unroll batch minibatch",
        Said(BATCHES),
    ),
    (
        &[Data, Train],
        "shuffle stride",
        Said(
            "`stride` and `shuffle` are arguments of windows: `batches: windows(length: 30, stride: 1, shuffle: true)`",
        ),
    ),
    (
        &[Data],
        "split splits validationsplit valsplit validsplit testsplit holdout validationfraction validfraction",
        Said("the last parts of the training text are held out by `valid: last(10%)` and `test: last(5%)`"),
    ),
    (
        &[Data],
        "vocab vocabsize maxvocab numwords maxfeatures maxtokens maxvocabsize topk",
        Called("vocabulary"),
    ),
    (&[Data], "minfreq minfrequency mincounts threshold cutoff", Called("min_count")),
    (&[Data], "unk unktoken oov oovtoken unknowntoken", Called("unknown")),
    (
        &[Train],
        "vocab vocabsize maxvocab numwords maxtokens",
        Said(
            "the vocabulary is that of the training text: the data block's `vocabulary: n` keeps the n most frequent words",
        ),
    ),
    (&[Data, Train], "labels target targets y classes numclasses", Said(NO_OTHER_TASK)),
    (&[Data], "lowercase lower", Said("texts are read as they are; prepare them beforehand")),
    // Keys of the train block.
    (&[Train], "lr learningrate rate alpha eta stepsize", Said(RATE)),
    (
        &[Train],
        "momentum weightdecay beta1 beta2 betas epsilon eps l2 l1",
        Said(
            "that is the optimizer's argument, if it has one: `optimizer: momentum(rate: 0.1, momentum: 0.9)`",
        ),
    ),
    (&[Train], "maxepochs numepochs nepochs epoch nbepoch maxepoch passes", Called("epochs")),
    (
        &[Train],
        "steps numsteps maxsteps iters iteration numiterations maxiters maxiterations updates \
         totalsteps",
        Called("iterations"),
    ),
    (&[Train], "optim optimiser solver algorithm updater", Called("optimizer")),
    (&[Train], "criterion objective cost lossfn lossfunction", Called("loss")),
    (&[Train], "metric metrics show measure", Called("report")),
    (
        &[Train],
        "logevery loginterval printevery evalevery evalinterval reportinterval logsteps",
        Called("report_every"),
    ),
    (&[Train], "initializer initialization inits weightinit", Called("init")),
    (&[Train], "dtype amp fp16 bf16 mixedprecision float", Called("precision")),
    (
        &[Train],
        "clipnorm gradclip gradientclip gradientclipping maxgradnorm maxnorm clipping clipgradnorm \
         gradclipnorm",
        Said(CLIP),
    ),
    (
        &[Train],
        "scheduler lrdecay decay lrschedule lrscheduler warmup annealing learningratedecay",
        Said(SCHEDULE),
    ),
    (
        &[Train],
        "accumulation accumulationsteps gradientaccumulation gradaccum accumulategradbatches gradientaccumulationsteps accumulategradients",
        Called("accumulate"),
    ),
    (
        &[Train],
        "shard ranks worldsize numprocesses processes dataparallel devices replicas workers microbatches",
        Called("shards"),
    ),
    (
        &[Train],
        "average averaging swa ema polyak asgd weightaveraging",
        Said("write `weights: average(after: 5)`"),
    ),
    (&[Train], "dropout dropoutrate keepprob", Said(DROP)),
    (
        &[Train],
        "hiddensize hidden numhidden units embeddingdim embeddingsize dim dmodel numlayers layers",
        Said(WIDTH),
    ),
    (&[Train], "seed device threads numworkers workers gpu cuda savedir out output resume", Said(OPTION)),
    (&[Train], "earlystopping earlystop stopafter", Called("patience")),
    (&[Train], "checkpoints savebest savebestonly keepbest bestcheckpoint", Called("checkpoint")),
    (&[Train], "savetotallimit keepcheckpoints maxtokeep keeplast savetopk", Called("keep")),
    // Arguments.
    (&[Argument], "lr learningrate alpha eta stepsize", Called("rate")),
    (&[Argument], "eps fuzz fudge", Called("epsilon")),
    (&[Argument], "rho alpha gamma", Called("decay")),
    (&[Argument], "mu beta gamma", Called("momentum")),
    (&[Argument], "p prob probability droprate fraction", Called("rate")),
    (&[Argument], "keepprob keep retain", Said("give the fraction that is dropped, `rate: 1 - keep`")),
    (
        &[Argument],
        "hiddensize hidden size hiddendim dim width outfeatures outputsize outputdim embeddingdim \
         embeddingsize embedsize numunits numhidden nhid features nunits units neurons",
        Called("units"),
    ),
    (&[Argument], "act nonlinearity activationfunction", Called("activation")),
    (&[Argument], "kernelinitializer initializer weightinit embeddingsinitializer", Called("init")),
    (&[Argument], "recurrentinitializer", Called("recurrent_init")),
    (&[Argument], "biasinitializer", Called("bias_init")),
    (&[Argument], "batchsize batch bs b n streams", Called("rows")),
    (
        &[Argument],
        "seqlen seqlength sequencelength bptt timesteps unroll length numsteps context contextlength \
         blocksize window",
        Called("steps length"),
    ),
    (&[Argument], "step shift hop skip offset", Called("stride")),
    (&[Argument], "target predict", Called("targets")),
    (&[Argument], "eos endofline linebreak", Called("newline")),
    (&[Argument], "gamma by rate", Called("factor")),
    (&[Argument], "start epoch from patience", Called("after")),
    (&[Argument], "max maxnorm norm value threshold clipnorm", Called("limit")),
    (&[Argument], "reduction reduce average", Called("steps")),
    (
        &[Argument],
        "numlayers nlayers layers depth",
        Said("a layer is one layer: name it in the chain as often as there are to be"),
    ),
    (&[Argument], "dropout recurrentdropout", Said(DROP)),
    (
        &[Argument],
        "inputsize infeatures inputdim inputshape numembeddings vocab vocabsize",
        Said("the width of what flows in is known: leave it out"),
    ),
    (
        &[Argument],
        "returnsequences returnstate stateful",
        Said("every step has a result; `-> last` keeps the last step's, and `stream` carries state"),
    ),
    (&[Argument], "bidirectional gobackwards", Said(NO_FUTURE)),
    (
        &[Argument],
        "bias usebias batchfirst",
        Said("it cannot be switched; write a layer of your own with the equations that you want"),
    ),
    (&[Argument], "weightdecay nesterov amsgrad centered dampening", Said(WRITE_OUT)),
    (&[Argument], "weight labelsmoothing ignoreindex weights", Said("all tokens count alike")),
    // Layers.
    (&[Layer], "linear fc fullyconnected affine projection proj output", Called("dense")),
    (&[Layer], "embed emb lookup wordembedding embeddings", Called("embedding")),
    (&[Layer], "norm ln normalize normalization", Called("layer_norm")),
    (&[Layer], "drop", Called("dropout")),
    (&[Layer], "elman simplernn vanillarnn recurrent", Called("rnn")),
    (&[Layer], "finalstep laststep takelast", Called("last")),
    (
        &[Layer],
        "logsoftmax logits",
        Said("`cross_entropy` takes logits: leave it out, or write `-> softmax`"),
    ),
    (&[Layer], "bidirectional bilstm bigru birnn brnn backward reverse", Said(NO_FUTURE)),
    (
        &[Layer],
        "conv conv1d conv2d conv3d convolution tcn attention selfattention multiheadattention mha \
         transformer transformerblock maxpool meanpool pool pooling globalaveragepooling1d \
         averagepooling positionalencoding positionalembedding",
        Said(NO_CONVOLUTION),
    ),
    (
        &[Layer],
        "batchnorm batchnorm1d batchnormalization groupnorm",
        Said("no layer sees other rows of the batch; `layer_norm` works on one vector"),
    ),
    (
        &[Layer],
        "rmsnorm",
        Said(
            "write it out: `layer rms_norm(x: [in]) { param g: [in] = ones; return g * x / sqrt(mean(x * x) + 1e-5) }`",
        ),
    ),
    (
        &[Layer],
        "residual skip add concat concatenate merge multiply",
        Said(
            "a layer of your own can have two inputs: `layer add(x: [in], y: [in]) { return x + y }`; name the second one with `let`",
        ),
    ),
    (&[Layer], "indrnn janet mgu sru qrnn mamba xlstm lru s4 rwkv minimalgru", Said(WRITE_CELL)),
    (&[Layer], "sigmoidlayer classifier regressor crf", Said(NO_OTHER_TASK)),
    (
        &[Layer],
        "sequential model input inputlayer",
        Said("a chain begins with `tokens`, and layers are joined with `->`"),
    ),
    // Optimizers.
    (&[Optimizer], "gd gradientdescent stochasticgradientdescent", Called("sgd")),
    (&[Optimizer], "sgdmomentum heavyball momentumsgd", Called("momentum")),
    (
        &[Optimizer],
        "adadelta lion lamb lars ftrl adafactor nag nesterov rprop lbfgs adamax nadam radam adamw \
         shampoo muon sophia adabelief asgd yogi",
        Said(WRITE_OUT),
    ),
    // Functions.
    (&[Function], "logistic sigma expit sigm", Called("sigmoid")),
    (&[Function], "ln loge", Called("log")),
    (&[Function], "identity id none null", Called("linear")),
    (&[Function], "cat concatenate stack hstack join", Called("concat")),
    (&[Function], "stopgradient detach nograd", Called("stop")),
    (&[Function], "rand", Called("random")),
    (&[Function], "reducesum total", Called("sum")),
    (&[Function], "reducemean avg average", Called("mean")),
    (&[Function], "maximum reducemax", Called("max")),
    (&[Function], "minimum reducemin", Called("min")),
    (&[Function], "absolute fabs", Called("abs")),
    (&[Activation], "gelu", Said("write it out: `x * sigmoid(1.702 * x)` in a layer of your own")),
    (&[Activation], "silu swish", Said("write it out: `x * sigmoid(x)` in a layer of your own")),
    (
        &[Activation],
        "softplus",
        Said("write it out: `relu(x) + log(1 + exp(-abs(x)))` in a layer of your own"),
    ),
    (
        &[Activation],
        "mish",
        Said("write it out: `x * tanh(relu(x) + log(1 + exp(-abs(x))))` in a layer of your own"),
    ),
    (&[Activation], "leakyrelu prelu lrelu", Said("write it out: `max(x, 0.01 * x)` in a layer of your own")),
    (
        &[Activation],
        "elu selu celu",
        Said("write it out: `if x > 0 then x else exp(min(x, 0)) - 1` in a layer of your own"),
    ),
    (&[Activation], "relu6", Said("write it out: `min(relu(x), 6)` in a layer of your own")),
    (
        &[Activation],
        "hardsigmoid",
        Said("write it out: `max(0, min(1, 0.2 * x + 0.5))` in a layer of your own"),
    ),
    (&[Activation], "hardtanh clamp clip", Said("write it out: `max(-1, min(1, x))`")),
    (&[Activation], "softsign", Said("write it out: `x / (1 + abs(x))` in a layer of your own")),
    (&[Function], "pow power", Said("a power is written `x ^ 2`")),
    (&[Function], "square sqr", Said("write `x * x`")),
    (&[Function], "rsqrt", Said("write `1 / sqrt(x)`")),
    (&[Function], "sign", Said("write `(x > 0) - (x < 0)`")),
    (&[Function], "where select cond iif switch", Said("write `if c then a else b`")),
    (&[Function], "dot matmul mm bmm gemm einsum linearmap", Said("write `x @ W`")),
    (&[Function], "multiply mul hadamard elementwise", Said("write `a * b`")),
    (&[Function], "add plus", Said("write `a + b`")),
    (&[Function], "var variance std", Said("write `mean((x - mean(x)) * (x - mean(x)))`, and its `sqrt`")),
    (&[Function], "norm l2norm", Said("write `sqrt(sum(x * x))`")),
    (&[Function], "zeroslike fill full", Said("numbers spread over vectors: write `0 * x`")),
    (&[Function, Name], "true", Said("write 1")),
    (&[Function, Name], "false", Said("write 0")),
    // Initializers.
    (&[Initializer], "xavier xavieruniform glorotuniform fanavg", Called("glorot")),
    (
        &[Initializer],
        "xaviernormal glorotnormal",
        Said(
            "in a layer of your own write `param W: [in, units] = normal(sqrt(2 / (in + units)))`; `glorot` draws uniformly with the same spread",
        ),
    ),
    (&[Initializer], "kaiming he kaiminguniform kaimingnormal heuniform henormal msra", Said(FAN_IN)),
    (
        &[Initializer],
        "lecun lecunnormal lecununiform variancescaling",
        Said(
            "in a layer of your own write `param W: [in, units] = normal(sqrt(1 / in))`, or `uniform(sqrt(3 / in))`",
        ),
    ),
    (&[Initializer], "gaussian randn randomnormal", Called("normal")),
    (&[Initializer], "rand random randomuniform", Called("uniform")),
    (&[Initializer], "truncatednormal truncnormal", Said("`normal(0.1)` is the nearest: nothing is cut off")),
    (&[Initializer], "zero null none", Called("zeros")),
    (&[Initializer], "one", Called("ones")),
    (&[Initializer], "orth saxe qr", Called("orthogonal")),
    (&[Initializer], "constant const fill", Said("a number alone is a constant: `= 0.1`")),
    (&[Initializer], "identity eye", Said("there is no identity; `orthogonal` keeps lengths too")),
    // Losses.
    (&[Loss], "perplexity ppl", Said("perplexity is the exponential of `cross_entropy`")),
    (
        &[Loss],
        "nll nllloss ce crossentropyloss xent softmaxcrossentropy softmaxcrossentropywithlogits \
         categoricalcrossentropy sparsecategoricalcrossentropy negativeloglikelihood logloss \
         likelihood logprob sequenceloss",
        Called("cross_entropy"),
    ),
    (
        &[Loss],
        "mse mseloss l2 l2loss mae l1 l1loss huber smoothl1 meansquarederror meanabsoluteerror rmse \
         squarederror regression",
        Said(NO_OTHER_TASK),
    ),
    (
        &[Loss],
        "bce bceloss bcewithlogits binarycrossentropy hinge hingeloss focal logistic kl kldiv \
         kldivergence ctc ctcloss triplet contrastive cosine mle accuracy classification",
        Said(NO_OTHER_TASK),
    ),
    // Tokens.
    (&[Tokens], "chars char character letters letter characterlevel charlevel", Called("characters")),
    (&[Tokens], "word whitespace split spaces wordlevel", Called("words")),
    (&[Tokens], "punctuation wordsandpunct wordpunct", Called("words_and_punctuation")),
    (
        &[Tokens],
        "subwords subword wordpiece sentencepiece unigram tiktoken bytes byte bytelevel",
        Said("subwords are `bpe(4000)`, learned from the training text, or `tokenizer(\"tokenizer.json\")`"),
    ),
    // Batches.
    (&[Batches], "contiguous sequential bptt continuous streams batch truncatedbptt", Called("stream")),
    (&[Batches], "window sliding slidingwindow chunks ngrams sequences", Called("windows")),
    // Values of other keys.
    (&[Value], "ppl", Called("perplexity")),
    (&[Value], "loss", Said("the loss is always reported")),
    (&[Value], "acc hits hitrate", Called("accuracy")),
    (
        &[Value],
        "value clipnorm globalnorm l2 maxnorm norms",
        Said("gradients are clipped by the norm of all of them together: `norm(5)`"),
    ),
    (&[Value], "exponential exp step steplr exponentiallr halve multisteplr", Called("decay")),
    (&[Value], "cosineannealing cosineannealinglr cosinedecay", Called("cosine")),
    (&[Value], "reducelronplateau reduceonplateau", Called("plateau")),
    (&[Value], "linearlr warmuplinear linearwarmup ramp", Called("warmup")),
    (
        &[Value],
        "linear constant",
        Said(
            "without a schedule the rate stays the same; a cosine falls to a share of it: `cosine(to: 0.1)`",
        ),
    ),
    (&[Value], "mean ema swa polyak moving", Called("average")),
    (&[Value], "float32 fp32 single full float f64 float64 double", Called("f32")),
    (&[Value], "bfloat16", Called("bf16")),
    (&[Value], "f16 fp16 half float16 mixed", Said("the only numbers of 16 bits are `bf16`")),
    (&[Value], "lowest validloss valloss bestonly", Called("best")),
    (&[Value], "yes on", Called("true")),
    (&[Value], "no off", Called("false")),
    (&[Value], "all every", Called("each")),
    (&[Value], "final one next", Called("last")),
    (&[Value], "average avg", Called("mean")),
    // Names in equations.
    (
        &[Name],
        "t",
        Said(
            "time is not written: a name is this step's value, and a state's name its value from the step before",
        ),
    ),
];

/// Endings that say what kind of thing a name is: here its place says that.
const ENDINGS: [&str; 7] = ["cell", "layer", "optimizer", "loss", "initializer", "init", "activation"];

/// The known word that an unknown one means, by the table or by its spelling without case, `_` and endings such as `Cell`.
pub fn meant<'a>(place: Place, word: &str, known: &[&'a str]) -> Option<&'a str> {
    let forms = forms(word);
    let same = forms.iter().find_map(|form| known.iter().find(|known| squash(known) == *form));
    let called = || {
        forms.iter().flat_map(|form| meanings(place, form)).find_map(|meaning| match meaning {
            Called(names) => names.split(' ').find_map(|name| known.iter().find(|known| **known == name)),
            Said(_) => None,
        })
    };
    same.or_else(called).copied()
}

/// What to write instead of an unknown word, if the table or its spelling tells; `known` are the words that are known.
pub fn hint(place: Place, word: &str, known: &[&str]) -> Option<String> {
    match meant(place, word, known) {
        Some(known) if squash(known) == squash(word) => return Some(format!("did you mean `{known}`?")),
        Some(known) => return Some(format!("`{word}` is called `{known}` here")),
        None => {}
    }
    forms(word).iter().flat_map(|form| meanings(place, form)).find_map(|meaning| match meaning {
        Called(_) => None,
        Said(text) => Some((*text).to_owned()),
    })
}

fn meanings(place: Place, form: &str) -> impl Iterator<Item = &'static Meaning> {
    let fits =
        move |places: &[Place], words: &str| places.contains(&place) && words.split(' ').any(|w| w == form);
    TABLE.iter().filter(move |(places, words, _)| fits(places, words)).map(|(.., meaning)| meaning)
}

/// A word in lower case, without `_` and `-`.
fn squash(word: &str) -> String {
    word.chars().filter(|c| *c != '_' && *c != '-').flat_map(char::to_lowercase).collect()
}

/// A squashed word, and what is left of it without an ending.
fn forms(word: &str) -> Vec<String> {
    let whole = squash(word);
    let plain = ENDINGS.iter().find_map(|ending| whole.strip_suffix(ending)).map(str::to_owned);
    [Some(whole), plain].into_iter().flatten().filter(|form| !form.is_empty()).collect()
}

/// Every word that the table says is meant, with its place.
#[cfg(test)]
pub(crate) fn targets() -> impl Iterator<Item = (Place, &'static str)> {
    TABLE.iter().flat_map(|(places, _, meaning)| {
        let names = if let Called(names) = meaning { names.split(' ') } else { "".split(' ') };
        let pairs = names.filter(|name| !name.is_empty());
        pairs.flat_map(|name| places.iter().map(move |place| (*place, name)))
    })
}
