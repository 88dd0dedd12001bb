"""The guide: one page of Markdown a subject, which ships with the package, for people and for agents.

pages    what pages there are, and what each says; resources and `bitlm guide` read them there
table    all tools in one table, made of their specifications; the README holds it

What the numbers of a training mean is a page of its own, `bitlm://metrics-guide`.
"""
