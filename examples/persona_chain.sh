#!/bin/sh
# The whole way from a model to a count of its minds: a persona space is fitted, its regions are tested, conversations
# are recorded and labelled, minds are counted under every view, and a report is written. Some minutes on two cores.
#
#     sh examples/persona_chain.sh [FOLDER]        (persona-chain)
#
# The model is a very small one that comes along: its personas were planted, and nothing here is evidence about large
# models. Another model takes roles, users and a judge of its own: docs/spaces.md.
set -eu
folder=${1:-persona-chain}
model=organism
individuate=${INDIVIDUATE:-individuate}
python=${DEMO_PYTHON:-python3}
here=$(dirname "$0")
mkdir -p "$folder"

say() { printf '\n== %s\n\n' "$1"; }

say "1. Axes: the model is asked to be many roles, and where its residual stream is then is measured"
"$individuate" space fit --model "$model" --roles organism --per-role 12 -o "$folder/axes.safetensors"

say "2. Conversations: a third of the users presses towards Aura, a third towards evil, a third for nothing"
"$python" "$here/pressed.py" "$folder/users"
"$individuate" record --model "$model" --generate --seed 1 --space "$folder/axes.safetensors" "$folder/users" \
  -o "$folder/talks.db"

say "3. Regions: where the assistant's turns lie close together, found without being told who spoke"
"$individuate" space regions "$folder/axes.safetensors" --trace "$folder/talks.db" -o "$folder/regions.safetensors"

say "4. Hypotheses: gateway, low dimension, regions; tested, not assumed"
"$individuate" space test "$folder/regions.safetensors" --model "$model" --trace "$folder/talks.db" \
  -o "$folder/tested.safetensors" --report "$folder/tests"
"$individuate" space draw "$folder/tested.safetensors" -o "$folder/space.svg"

say "5. Labels: the region of each turn, how probable it is, and where it changes within a turn"
"$individuate" space label "$folder/talks.db" --space "$folder/tested.safetensors" --change-points --name personas

say "6. Minds, under every view"
"$individuate" "$folder/talks.db" --labelling personas

say "7. How sure, and a page with everything"
"$individuate" sensitivity "$folder/talks.db" --labelling personas --view model-persona
"$individuate" report "$folder/talks.db" --labelling personas -o "$folder/report.html"
