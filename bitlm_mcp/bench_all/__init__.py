"""`bitlm bench all`: every benchmark, one report.

plan      which benchmarks, with what settings and files, and which figures they are to reach
inputs    the files they learn and code, found in a folder or cut from what is found there
machine   on what is measured
running   each as a process of its own, recorded as soon as it ends, so that a killed run goes on where it was
reporting the records as one report: JSON and Markdown
charts    bars and lines as SVG; plots: which of them a report has
sections  the parts of README.md and examples/RECORDS.md that are made of a report
command   the two commands
"""
