#!/bin/sh
# Debian's Chromium, unless there is one: `chromium` in the path, or $CHROMIUM.
command -v "${CHROMIUM:-chromium}" >/dev/null && exit 0
if [ "$(id -u)" = 0 ]; then root=""; else root="sudo -n"; fi
$root apt-get update -qq && $root apt-get install -y -qq chromium && exit 0
echo "no Chromium, and apt-get could not install one: install it, or set CHROMIUM to its path" >&2
exit 1
