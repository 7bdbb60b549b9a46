"""Many lines into audio: `python -m ptts_jax.bulk INPUT OUT`.

reading    the input as lines, and the lines as what is to be said
job        what an output folder is for, and what is done in it
claims     which of several processes makes which shard
models     the models that the lines name
speaking   lines through the engine, side by side
shards     a shard's audio and index on disk
cluster    the same by a Ray cluster
asked      what a command asks for, in plain values
work       one shard after the other, until all are done
finish     checks what is done, and makes one index of all
"""
