#!/bin/bash
# One training on several machines of a Slurm cluster: torchrun once on each of them, as many processes as each has GPUs.
#
#     sbatch --nodes 2 --gpus-per-node 8 examples/cluster/slurm.sh DATA NAME
#
# DATA is a file and BITLM_STATE_DIR a folder that all machines see at the same path. What comes of it is the checkpoint NAME,
# which a server with that state directory loads. A lost process has all of them started again, from the newest sharded
# checkpoint; the job itself ends where a machine is lost for good.
#SBATCH --job-name=bitlm
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --output=%x-%j.log
set -euo pipefail

data=$1 name=$2
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# With one store for all restarts, processes that start anew may find the addresses of those that were lost.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
# What sbatch was asked for, srun is to be told again (Slurm 22.05 and later).
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
export OMP_NUM_THREADS=$((SLURM_CPUS_PER_TASK / ${SLURM_GPUS_ON_NODE:-1}))

srun torchrun \
    --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "${SLURM_GPUS_ON_NODE:-1}" --max-restarts 3 \
    --rdzv-backend c10d --rdzv-endpoint "$head:29400" --rdzv-id "$SLURM_JOB_ID" \
    -m bitlm_mcp train "$data" --parallel fsdp --preset base --seconds 80000 --save-as "$name" --force
