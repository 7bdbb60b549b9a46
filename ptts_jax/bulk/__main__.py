from ptts_jax import command
from ptts_jax.bulk.command import main

if __name__ == "__main__":
    command.start(main)
