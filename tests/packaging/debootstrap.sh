#!/bin/sh
# debootstrap, unless there is one: it makes the root in which the steps of the Dockerfile are executed.
command -v debootstrap >/dev/null && exit 0
if [ "$(id -u)" = 0 ]; then root=""; else root="sudo -n"; fi
$root apt-get update -qq && $root apt-get install -y -qq debootstrap && exit 0
echo "no debootstrap, and apt-get could not install one" >&2
exit 1
