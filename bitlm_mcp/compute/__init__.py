"""Everything that touches a model: commands in, events out, in a thread of the server or in a process of its own.

messages    what can be asked and what is answered, as plain JSON values
engines     the models in memory; idle ones give way when room is needed
executor    what each command does: a generator that yields at every safe point
events      what is told of it on the way, and its answer
scheduler   who goes first, who is stopped
threaded    the scheduler in a thread of this process
transfers   what goes to a hub of models and comes from it (`hub_messages`), beside all that
isolated    the scheduler in a child process (`child`), whose death costs nobody else anything
"""
