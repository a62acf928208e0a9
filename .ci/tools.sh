# Installs the Debian tools that the tests run, where they are missing and it may; else one sentence names them.
# Usage: tools.sh PROGRAM=PACKAGE ...
set -eu
missing=""
for pair in "$@"; do
  command -v "${pair%%=*}" >/dev/null 2>&1 || missing="$missing ${pair#*=}"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "Installing the Debian packages$missing (once) ..."
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends $missing >/dev/null && exit 0
fi
echo "The tests need the Debian packages$missing: install them, for example by sudo apt-get install$missing" >&2
exit 1
