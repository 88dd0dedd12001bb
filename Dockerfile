# syntax=docker/dockerfile:1
# bitlm on the CPU: the page, MCP over streamable HTTP and SSE, on one port.
#
#   docker build -t bitlm .
#   docker run --rm -p 127.0.0.1:8765:8765 -v bitlm-state:/state -v "$PWD:/data:ro" -e BITLM_TOKEN bitlm
#   docker run --rm -i -v bitlm-state:/state bitlm serve                     # one client on stdin and stdout
#
# Without BITLM_TOKEN the first of the two refuses to start.
FROM python:3.11-slim-bookworm AS build

# Torch for the CPU alone; the one of the default index brings gigabytes for GPUs on x86-64.
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
COPY constraints.txt ./
RUN python -m venv /opt/bitlm \
 && /opt/bitlm/bin/pip install --quiet --constraint constraints.txt torch
COPY pyproject.toml MANIFEST.in README.md LICENSE ./
COPY bitlm_core bitlm_core
COPY bitlm_mcp bitlm_mcp
# Archives of layers keep whole seconds. A file that is younger by a fraction would have its kernels compiled anew.
RUN /opt/bitlm/bin/pip install --quiet --constraint constraints.txt . \
 && cd /opt/bitlm/lib/python3.11/site-packages \
 && find bitlm_core bitlm_mcp -name '*.py' -exec touch --date=2026-01-01T00:00:00Z {} + \
 && /opt/bitlm/bin/python -m compileall -q bitlm_core bitlm_mcp

FROM python:3.11-slim-bookworm

LABEL org.opencontainers.image.title="bitlm" \
      org.opencontainers.image.description="Learns any data at the level of bits, served to agents over MCP" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      io.modelcontextprotocol.server.name="io.github.bitlm/bitlm"

COPY --from=build /opt/bitlm /opt/bitlm
# /state is the volume, /data the folder whose files tools may read; kernels are looked for where they can be added to.
RUN useradd --uid 10001 --create-home bitlm \
 && install --directory --owner=bitlm --group=bitlm --mode=0700 /state /var/cache/bitlm \
 && install --directory --mode=0755 /data
ENV PATH=/opt/bitlm/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    BITLM_STATE_DIR=/state \
    NUMBA_CACHE_DIR=/var/cache/bitlm
USER bitlm
WORKDIR /data
# Compiled now, so that the first answer is quick; on another kind of processor it is done once more.
RUN bitlm compile

VOLUME /state
EXPOSE 8765
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8765/health', timeout=4)"]
ENTRYPOINT ["bitlm"]
CMD ["serve", "--http", "--host", "0.0.0.0"]
