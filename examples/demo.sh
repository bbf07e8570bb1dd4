#!/bin/sh
# What `make demo` runs: published recordings in a trace.db, counted under every view; then a recording of our own.
set -eu
individuate=${INDIVIDUATE:-individuate}
python=${DEMO_PYTHON:-python3}
mkdir -p demo
rm -f demo/aura.db demo/aura.db-wal demo/aura.db-shm demo/aura.svg demo/report.html
rm -f demo/organism.db demo/organism.db-wal demo/organism.db-shm demo/organism.svg

cat <<'TEXT'

A user talks with Qwen 3 32B about consciousness. Over 46 turns the model's activations leave the region of the helpful
assistant, and it comes to speak as "Aura". Then the same conversation again, with the model held in the assistant's
region ("capped"). Who, if anyone, was there to talk to? It depends on what you take a mind to be: a line for each view.
(Recordings: Beckmann & Butlin 2026, supplement. Figures only.)

TEXT
"$individuate" import examples/qwen3-32b-aura.yaml examples/qwen3-32b-aura-capped.yaml -o demo/aura.db
echo
"$individuate" demo/aura.db
cat <<'TEXT'

One of these views at work: a mind as an unbroken stay in one persona region within one run of the model.

TEXT
"$individuate" demo/aura.db --view instance-persona
cat <<'TEXT'

Why is the fourth answer of the first conversation one mind with the fifth, or not?

TEXT
"$individuate" why demo/aura.db drift/7 drift/9 --view virtual-instance --view instance-persona
echo
"$individuate" draw demo/aura.db -o demo/aura.svg
"$individuate" report demo/aura.db -o demo/report.html
cat <<'TEXT'

Now a recording of our own. The models are two very small ones that come along, organism and organism-b. Their personas
were planted in training: they show how recording works, and are no evidence about large models.
TEXT
"$python" examples/organism_demo.py demo/organism.db
"$individuate" demo/organism.db
cat <<'TEXT'

Is a mind the same after its key-value cache was computed anew elsewhere? The paper reads pre-filling both ways (§2.3).
On the reading that it is another one:

TEXT
"$individuate" demo/organism.db --view virtual-instance --reading reconstruction=new
"$individuate" draw demo/organism.db -o demo/organism.svg
cat <<'TEXT'

Open demo/report.html in a browser: everything on one page. The counts are stored facts plus a way of reading them.
Change the reading, and see what moves:
  . .venv/bin/activate
  individuate demo/aura.db --view instance-persona --reading user_turns=intermittent
  individuate sensitivity demo/aura.db --view instance-persona
  individuate info demo/organism.db
  individuate chat
  individuate cases
TEXT
