from ptts_jax.command import start
from ptts_jax.train.data.command import main

if __name__ == "__main__":
    start(main)
