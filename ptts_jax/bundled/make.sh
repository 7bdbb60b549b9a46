#!/bin/sh
# Makes a voice from nothing: two natural teachers, a codec that speaks by FARGAN, and a sampled head. What lies in
# this folder today was made by the commands of README.md, not by this script, whose figures nobody has yet.
#
#   ptts_jax/bundled/make.sh FOLDER
#
# All that is made goes to FOLDER, the model itself to FOLDER/bundled. A stage that is done is left out, and
# one that was broken off goes on from its last checkpoint: run the same command again, as often as need be.
# It takes some six hours on two cores, most of them for the language model and its head.
#
# Needs: pip install -e ".[train,teachers,judges]" pocketsphinx; npm; curl; and the Debian packages
# wordnet-base, jargon-text, debian-handbook, fortunes, bible-kjv and wamerican, of which the text depends.
# PYTHON names the interpreter, MIRROR a Debian mirror, SCALE a share of the work (1 is all of it, and 1000 a
# thousandth, to try whether everything is there).
set -eu

[ $# -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
mkdir -p "$1"
cd "$1"
PYTHON=${PYTHON:-python3}
MIRROR=${MIRROR:-http://deb.debian.org/debian}
SCALE=${SCALE:-1}

OPUS=opus_1.5.2.orig.tar.gz
OPUS_SHA256=65c1d2f78b9f2fb20082c38cbe47c951ad5839345876e46941612ee87f9a7ce1
KOKORO_JS=1.2.1

share() { # of a number of steps or sentences, at least 4
  n=$(($1 / SCALE))
  echo $((n < 4 ? 4 : n))
}

stage() { # NAME COMMAND...: runs it once
  name=$1
  shift
  if [ -e "done/$name" ]; then
    echo "$name: done" >&2
    return
  fi
  echo "$name: $*" >&2
  "$@"
  mkdir -p done
  echo "$*" >"done/$name"
}

train() { # MODULE FLAGS...
  module=$1
  shift
  "$PYTHON" -m "ptts_jax.train.$module" "$@"
}

fetch_opus() {
  curl --fail --location --silent --show-error --output "$OPUS.part" "$MIRROR/pool/main/o/opus/$OPUS"
  echo "$OPUS_SHA256  $OPUS.part" | sha256sum --check --quiet
  mv "$OPUS.part" "$OPUS"
  tar xzf "$OPUS"
}

fetch_kokoro() {
  npm install --prefix npm --no-save --ignore-scripts --silent "kokoro-js@$KOKORO_JS"
}

stage opus fetch_opus
stage kokoro fetch_kokoro

# What the teachers say: everyday sentences, prose and drills, seven hours of Piper's and six of Kokoro's,
# whose generator a small net spares.
stage light train light --vocoder opus-1.5.2 --out light --voices af_heart \
  --kokoro_voices npm/node_modules/kokoro-js/voices --steps "$(share 2500)"
stage corpus train data --out corpus --voices piper:joe,kokoro:af_heart --light light \
  --sentences "$(share 8000),$(share 6000)" --drills "$(share 1500)" \
  --sample_rate 16000 --keep_parts --kokoro_voices npm/node_modules/kokoro-js/voices

# The codec: what the vocoder is told of a sound, and which latents tell it.
stage codec train codec --corpus corpus --vocoder opus-1.5.2 --out codec --steps "$(share 9000)" \
  --rate 1e-3 --kl 0.002
stage latents train latents --corpus corpus --codec codec --out latents
stage judged-codec train evaluate --codec codec --corpus corpus --out judged-codec

# The language model: first the regression alone, which learns to follow the text, then the head that
# samples what a mean can't say.
stage lm train lm --corpus corpus --latents latents --codec codec --out lm --steps "$(share 6000)" \
  --head_from 100000000 --guide 1 --bf16 --buckets 5 --language en
stage head train lm --corpus corpus --latents latents --codec codec --out head --start lm \
  --head_only --steps "$(share 6000)" --guide 0 --bf16 --buckets 5 --language en

stage bundled train export --lm head --codec codec --corpus corpus --out bundled --name bundled

# Its ear, which hears whether it said a text: first it hears the teachers, then how a recogniser hears
# the model.
VOICES=bundled/voices/joe.safetensors,bundled/voices/af_heart.safetensors
stage ear train ear --model bundled/model.safetensors --corpus corpus --out ear \
  --steps "$(share 6000)" --width 192 --language en
stage heard train heard --model bundled/model.safetensors --corpus corpus --out heard \
  --voices "$VOICES" --sentences "$(share 1500)"
stage judging train ear --model ear/model.safetensors --corpus corpus --heard heard --out judging \
  --steps "$(share 1500)" --rate 7e-4 --width 192 --language en
stage with-ear cp judging/model.safetensors bundled/model.safetensors
stage judged train evaluate --model bundled/model.safetensors --int8 --corpus corpus --out judged \
  --voices "$VOICES"
echo "made $PWD/bundled; how it is heard: $PWD/judged" >&2
