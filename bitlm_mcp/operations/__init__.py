"""What can be asked of a workspace: each function checks, records, and returns the job that does the rest.

They read and write the disk, so they are not for the event loop; `infer` and `diffusion_sample` alone touch nothing but
memory. All raise BitLMError when something is refused, and then nothing has changed.
"""
