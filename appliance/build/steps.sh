# shellcheck shell=bash disable=SC2034
# Steps of the build: each with its time, its output in a log that is shown when it fails; everything unfinished goes away at the end.

work=''                         # scratch folder, removed however the build ends
step_pid=''
step_count=0
step_total=7

fail() {
        printf 'create-docker-registry-ovf: %s\n' "$*" >&2
        exit 1
}

begin() {
        started=$SECONDS
        [ "$START_VIRTUALBOX_LOCALLY" = false ] || step_total=8
        OUTPUT=$(cd "$OUTPUT" && pwd)
        [ -z "$PACKAGE_CACHE" ] || PACKAGE_CACHE=$(cd "$PACKAGE_CACHE" && pwd)
        work=$(mktemp -d "${TMPDIR:-/var/tmp}/orlop-appliance.XXXXXXXXXX")
        # An ordinary user's tree is made under other user ids, which must be able to walk through.
        chmod 711 "$work"
        mkdir "$work/out" "$work/boxes"
        trap finish EXIT
        trap 'exit 130' INT
        trap 'exit 143' TERM HUP PIPE
}

# All of a step's processes: what mmdebstrap ends, it tidies up itself, which takes a moment.
end_step() {
        local tenths
        kill -- -"$step_pid" 2>/dev/null || true
        for ((tenths = 0; tenths < 100; tenths++)); do
                kill -0 -- -"$step_pid" 2>/dev/null || return 0
                sleep 0.1
        done
        kill -KILL -- -"$step_pid" 2>/dev/null || true
}

finish() {
        local status=$?
        trap - EXIT
        trap '' INT TERM HUP PIPE
        if [ -n "$step_pid" ]; then
                end_step
        fi
        if [ "$status" != 0 ]; then
                if [ -e "$work/published" ]; then
                        printf '\nThe files are written; what came after that failed.\n' >&2 || true
                else
                        printf '\nNothing was written; the scratch files are removed.\n' >&2 || true
                        rm -f "$OUTPUT"/{output-virtualbox-iso,vagrant}/"${beside-.none}"*
                fi
        fi
        rm -rf "$work" 2>/dev/null || unshare --map-root-user --map-auto rm -rf "$work" || true
        exit "$status"
}

# step TITLE COMMAND...: in a process group of its own, so that Ctrl-C ends all of it.
step() {
        local title=$1 log=$work/log from=$SECONDS status=0
        shift
        step_count=$((step_count + 1))
        printf '%d/%d %s\n' "$step_count" "$step_total" "$title"
        : >"$log"
        set -m
        (set -e && "$@") >"$log" 2>&1 </dev/null &
        step_pid=$!
        set +m
        follow "$log" "$from"
        wait "$step_pid" || status=$?
        step_pid=''
        [ ! -t 1 ] || printf '\r\033[K'
        if [ "$status" != 0 ]; then
                printf '    failed after %d s; the last lines of its output:\n' $((SECONDS - from)) >&2
                tail -n 30 "$log" | sed 's/^/    | /' >&2
                exit 1
        fi
        printf '    done in %d s\n' $((SECONDS - from))
}

# While a step runs: its last line and its time on a terminal, a sign of life every half minute elsewhere.
follow() {
        local ticks=0
        while kill -0 "$step_pid" 2>/dev/null; do
                sleep 0.5
                ticks=$((ticks + 1))
                if [ -t 1 ]; then
                        printf '\r\033[K    %3d s  %s' $((SECONDS - $2)) "$(tail -c 400 "$1" | tr '\r' '\n' | tail -n 1 | cut -c 1-60)"
                elif [ $((ticks % 60)) = 0 ]; then
                        printf '    %d s: %s\n' $((SECONDS - $2)) "$(tail -n 1 "$1" | cut -c 1-80)"
                fi
        done
}

# all COMMAND -- COMMAND ...: the commands at the same time; fails when one does.
all() {
        local -a command=() pids=()
        local word status=0 pid
        for word in "$@" --; do
                if [ "$word" != -- ]; then
                        command+=("$word")
                        continue
                fi
                "${command[@]}" &
                pids+=($!)
                command=()
        done
        for pid in "${pids[@]}"; do wait "$pid" || status=1; done
        return "$status"
}
