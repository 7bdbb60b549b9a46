#!/bin/bash
# sbatch ptts_jax/bulk/deploy/slurm.sh --model=english --int8 lines.jsonl out
#
# Sixteen processes with two cores each share one folder, which all nodes must see. More of them may
# be submitted at any time; what is stopped or killed the others take over. A last call with --verify
# and --merge, by hand, makes one index.
#SBATCH --job-name=ptts-bulk
#SBATCH --array=0-15
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --mem=2G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@60
#SBATCH --output=ptts-bulk-%A-%a.log
set -euo pipefail
# Models and what is compiled: shared, so that it is made once for each kind of processor.
export PTTS_JAX_CACHE=${PTTS_JAX_CACHE:-$SLURM_SUBMIT_DIR/.ptts_jax}
exec srun --cpu-bind=cores python -m ptts_jax.bulk "$@"
