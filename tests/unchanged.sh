#!/usr/bin/env bash
# Shows that two builds of lstmc compile every shipped model to the same plan and code, and train it to the same
# parameters: `tests/unchanged.sh OLD NEW [MODEL...]`, where OLD and NEW are the commands. For changes of structure that are
# to leave behaviour as it is. Prints what differs, and exits with 1 if anything does.
set -euo pipefail
cd "$(dirname "$0")/.."

old=$(realpath "$1") new=$(realpath "$2")
shift 2
models=("$@")
[ ${#models[@]} -gt 0 ] || models=(models/*.lstm models/cells/*.lstm)
stages=${STAGES:-plan clif asm}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The models beside a text with ten thousand words, for those whose own is licensed.
cp -r models "$work/models"
awk 'BEGIN { srand(1); for (i = 0; i < 10000; i++) print "w" i; for (i = 0; i < 40000; i++) print "w" int(10000 * rand() ^ 3) }' \
    > "$work/models/ptb.train.txt"
head -n 3000 "$work/models/ptb.train.txt" > "$work/models/ptb.valid.txt"
cp "$work/models/ptb.valid.txt" "$work/models/ptb.test.txt"

# What a build makes of a model for so many workers, as one line for each stage.
made() {
    local lstmc=$1 model=$work/$2 workers=$3 run
    for purpose in train evaluate generate; do
        for stage in $stages; do
            printf '%s %s ' "$purpose" "$stage"
            "$lstmc" emit "$model" --purpose "$purpose" --stage "$stage" --threads "$workers" | sha256sum
        done
    done
    run=$(mktemp -d "$work/run.XXXX")
    "$lstmc" train "$model" --steps 20 --threads "$workers" --out "$run/run" > "$run/log" 2>&1
    printf 'parameters '
    # What a checkpoint says of itself, and of the clock, stands before its tensors.
    python3 - "$run"/run/checkpoints/*.safetensors <<'PYTHON'
import hashlib, json, sys
data = open(sys.argv[-1], "rb").read()
length = int.from_bytes(data[:8], "little")
header = json.loads(data[8:8 + length])
header.pop("__metadata__", None)
digest = hashlib.sha256()
for name in sorted(header):
    start, end = header[name]["data_offsets"]
    digest.update(name.encode() + data[8 + length + start:8 + length + end])
print(digest.hexdigest())
PYTHON
    rm -rf "$run"
}

different=0
for model in "${models[@]}"; do
    for workers in 1 2 3; do
        made "$old" "$model" "$workers" > "$work/old"
        made "$new" "$model" "$workers" > "$work/new"
        if ! diff "$work/old" "$work/new" > "$work/diff"; then
            different=1
            printf '%s, %s workers:\n' "$model" "$workers"
            cut -c1-40 "$work/diff"
        fi
    done
done
[ $different = 0 ] && echo "no differences"
exit $different
