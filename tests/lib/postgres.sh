# A PostgreSQL server of the tests' own: temporary, on a free port of the loopback, gone afterwards.
# Sourced by tests/run.
# shellcheck shell=bash

readonly POSTGRES_START_SECONDS_MAX=30
readonly POSTGRES_STOP_SECONDS_MAX=20
readonly POSTGRES_PORT_TRIES_MAX=5

postgres_pid=
postgres_dir=

# The folder with initdb and postgres, newest version first.
postgres_bin() {
    local folder
    for folder in \
        $(printf '%s\n' /usr/lib/postgresql/*/bin | sort --version-sort --reverse) \
        "$(pg_config --bindir 2>/dev/null || true)" \
        "$(dirname "$(command -v postgres 2>/dev/null || echo /)")"; do
        if [[ -x $folder/postgres && -x $folder/initdb && -x $folder/createdb ]]; then
            echo "$folder"
            return 0
        fi
    done
    return 1
}

# Runs a command as somebody whom PostgreSQL accepts: it refuses root.
as_postgres() {
    local user
    if [[ $EUID -ne 0 ]]; then
        exec "$@"
    fi
    user=$(id -un postgres 2>/dev/null || echo nobody)
    exec setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups "$@"
}

# Starts the server and sets TEST_DATABASE_URL and TEST_POSTGRES_BIN. The caller stops it with postgres_stop.
postgres_start() {
    local bin data user tries port
    bin=$(postgres_bin)
    postgres_dir=$(mktemp -d "${TMPDIR:-/tmp}/proxyxai-pg.XXXXXX")
    data=$postgres_dir/data
    if [[ $EUID -eq 0 ]]; then
        user=$(id -un postgres 2>/dev/null || echo nobody)
        chown "$user:$(id -g "$user")" "$postgres_dir"
    fi
    # The server ends with its data, so nothing is written for safety's sake.
    (cd "$postgres_dir" && as_postgres "$bin/initdb" --pgdata "$data" --username proxyxai --auth trust \
        --encoding UTF8 --locale C --no-sync >"$postgres_dir/initdb.log" 2>&1) || {
        cat "$postgres_dir/initdb.log"
        return 1
    }
    # Members of this role, and nobody else, have to give their passwords.
    sed -i '1i host all +guarded 127.0.0.1/32 scram-sha-256' "$data/pg_hba.conf"
    for ((tries = 0; tries < POSTGRES_PORT_TRIES_MAX; tries++)); do
        port=$((RANDOM % 10000 + 20000))
        (cd "$postgres_dir" && as_postgres "$bin/postgres" -D "$data" -p "$port" -k "$postgres_dir" \
            -c listen_addresses=127.0.0.1 -c max_connections=200 -c fsync=off \
            -c synchronous_commit=off -c full_page_writes=off) >"$postgres_dir/server.log" 2>&1 &
        postgres_pid=$!
        if postgres_ready "$bin" "$port"; then
            "$bin/createdb" --host "$postgres_dir" --port "$port" --username proxyxai proxyxai
            export TEST_DATABASE_URL="postgres://proxyxai@127.0.0.1:$port/proxyxai"
            # Its pg_dump and psql, for backups.
            export TEST_POSTGRES_BIN=$bin
            echo "$("$bin/postgres" --version) on port $port"
            return 0
        fi
        kill -INT "$postgres_pid" 2>/dev/null || true
        wait "$postgres_pid" || true
    done
    postgres_pid=
    tail -n 20 "$postgres_dir/server.log"
    return 1
}

# postgres_ready BIN PORT: whether our server, and not another on that port, answers in time.
postgres_ready() {
    local end=$((SECONDS + POSTGRES_START_SECONDS_MAX))
    while ((SECONDS < end)); do
        kill -0 "$postgres_pid" 2>/dev/null || return 1
        "$1/pg_isready" --quiet --host "$postgres_dir" --port "$2" && return 0
        sleep 0.1
    done
    return 1
}

postgres_stop() {
    local end=$((SECONDS + POSTGRES_STOP_SECONDS_MAX))
    if [[ -n $postgres_pid ]]; then
        # The fast way: open sessions are cut off.
        kill -INT "$postgres_pid" 2>/dev/null || true
        while kill -0 "$postgres_pid" 2>/dev/null && ((SECONDS < end)); do sleep 0.1; done
        kill -KILL "$postgres_pid" 2>/dev/null || true
        wait "$postgres_pid" 2>/dev/null || true
        postgres_pid=
    fi
    if [[ -n $postgres_dir ]]; then
        rm -rf "$postgres_dir"
        postgres_dir=
    fi
}
