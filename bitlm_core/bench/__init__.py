"""What `bitlm bench` runs. Figures are process CPU time on a stated number of threads; the last line printed is flat JSON."""
