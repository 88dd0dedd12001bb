"""Several processes train one network: one of them leads, the others follow its orders.

    leader (rank 0)    the engine as always: context mixing, telemetry, the plan, what is saved; its trainer is one of these
        │ orders       step (which rows, how far the run is) | configure | settle | save | stop
    followers          their share of each step, and nothing else

    data_parallel      every process has the whole network and a share of the rows (DDP)
    sharded            and of each block only a shard, gathered when it is its turn (FSDP2)
    pipeline           or some of the blocks, and all rows in small batches (1F1B)

The order of the data is a function of the step, and what is random one of (seed, step, part of the batch; in a pipeline,
process), so a run that was interrupted ends as one that was not. torchrun starts the processes and starts them again after one
was lost.
"""
