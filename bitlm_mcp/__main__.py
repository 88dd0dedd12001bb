"""`python -m bitlm_mcp` is the command `bitlm`."""

from bitlm_mcp.cli import main

if __name__ == "__main__":
    main()
