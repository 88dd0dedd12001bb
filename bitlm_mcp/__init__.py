"""The MCP server of bitlm: a shell around the engine that knows nothing of how it learns.

    settings  results  errors  arguments  schemas    the wire: what may be asked and how it is answered
    server                                          tools, resources and prompts put into one MCP server
    security  app  transports                       one guarded web application, stdio, and clean exits
    cli                                             the command `bitlm`; the only reader of the environment

Importing this package does nothing.
"""
