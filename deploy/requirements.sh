# What a build of Millrace needs from the system, sourced by deploy/demo.sh, tests/run.sh and .ci/run.
#
# `require build` and `require tests` look first, install only what is missing and only where this user may, and otherwise
# print the one command to type. They must not touch anything when all is there.

RUST_VERSION_MIN=1.95

_has_libclang() {
  # bindgen loads the library and reads clang's own headers.
  compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null && compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' >/dev/null ||
    [ -n "${LIBCLANG_PATH:-}" ]
}

_has_venv() {
  python3 -c 'import venv, ensurepip' >/dev/null 2>&1
}

# Prints the Debian packages that are missing for "build" or "tests".
_missing_packages() {
  command -v g++ >/dev/null || echo g++
  command -v make >/dev/null || echo make
  command -v ccache >/dev/null || echo ccache
  _has_libclang || echo libclang-dev
  [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
  if [ "$1" = tests ]; then
    command -v python3 >/dev/null || echo python3
    _has_venv || echo python3-venv
  fi
}

_install() {
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
      echo "missing system packages; install them with this command, then run the script again:" >&2
      echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends $*" >&2
      return 1
    fi
    as_root=(sudo -n)
  fi
  if ! command -v apt-get >/dev/null; then
    echo "missing (Debian's names): $*; install what your system calls them, then run the script again" >&2
    return 1
  fi
  echo "installing system packages: $*"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

_require_rust() {
  [ -e "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
  local how="get one from https://rustup.rs:  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"
  if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
    echo "no Rust toolchain found; $how" >&2
    return 1
  fi
  local found
  found=$(rustc --version | cut -d' ' -f2)
  if [ "$(printf '%s\n' "$RUST_VERSION_MIN" "$found" | sort -V | head -n 1)" != "$RUST_VERSION_MIN" ]; then
    echo "Rust $found is older than $RUST_VERSION_MIN; update it (rustup update stable), or $how" >&2
    return 1
  fi
}

# require build|tests
require() {
  local missing
  missing=$(_missing_packages "$1" | tr '\n' ' ')
  if [ -n "${missing// /}" ]; then
    # shellcheck disable=SC2086
    _install $missing || return 1
  fi
  _require_rust || return 1
  # RocksDB's C++ is most of a cold build; ccache keeps it across target folders and profiles. Only compilers of C and C++
  # are to be found there, so the toolchain's own folder stays first.
  if [ -d /usr/lib/ccache ]; then
    local toolchain
    toolchain=$(dirname "$(command -v cargo)")
    export PATH="$toolchain:/usr/lib/ccache:$PATH"
  fi
}
