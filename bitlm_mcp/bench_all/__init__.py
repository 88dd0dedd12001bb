"""`bitlm bench all`: every benchmark, one report.

plan       what a case is: a benchmark with settings, files, and the figures it is to reach
cases      all of them, by subject: cases_learning, cases_data, cases_models, cases_machine
peers      what cannot be measured here, as it was measured once; derived: figures that follow from others
inputs     the files they learn and code, found in a folder or cut from what is found there
machine    on what is measured
records    what is kept of each case
running    each as a process of its own, recorded as soon as it ends, so that a killed run goes on where it was
reporting  the records as one report: JSON and Markdown
charts     bars and lines as SVG; plots: which of them a report has
sections   the parts of README.md and examples/RECORDS.md that are made of a report
command    the two commands
"""
