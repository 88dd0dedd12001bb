"""The tools, by subject. Each module has one function, `…_tools(workspace)`, that returns their specifications."""
