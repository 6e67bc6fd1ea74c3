"""Where and how the step runs: one process, DDP, DeepSpeed, FSDP2."""
