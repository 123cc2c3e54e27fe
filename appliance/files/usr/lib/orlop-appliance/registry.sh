# The registry's container: how it is made, and when it is ready. Read by the boot unit, orlop-setup and orlop-update. POSIX sh.
# shellcheck shell=sh disable=SC2034,SC2154 # variables cross files here

name_file=/etc/orlop/registry/orlop.conf
archive=/usr/share/orlop-appliance/orlop-image.tar
ready_seconds=180

# create_registry CONTAINER IMAGE OPTION...: the container as it must be, whatever it is for; it is not started.
create_registry() {
        container=$1
        image=$2
        shift 2
        docker create --name "$container" --read-only --cap-drop ALL --security-opt no-new-privileges --pids-limit 1024 \
                --hostname "$(hostname)" --env ORLOP_CONFIG=/etc/orlop/orlop.conf --stop-timeout 60 \
                --mount type=bind,source="$storage",target=/data \
                --mount type=bind,source=/etc/orlop/registry,target=/etc/orlop,readonly \
                "$@" "$image" >/dev/null
}

# publish IMAGE: the registry itself, started.
publish() {
        create_registry registry "$1" --restart unless-stopped --publish "$REGISTRY_PORT:5000"
        docker start registry >/dev/null
}

exists() {
        docker container inspect "$1" >/dev/null 2>&1
}

# Asking a Docker that is still starting would wait for it: its socket starts it.
docker_runs() {
        systemctl is-active --quiet docker.service
}

# What Docker says of a container, in its words: "running healthy", "exited", nothing where there is none.
health() {
        docker_runs || return 0
        docker container inspect --format '{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}' "$1" 2>/dev/null || true
}

# The same for people.
health_word() {
        case $(health "$1") in
        'running healthy') echo 'ready' ;;
        'running starting' | '') echo 'starting' ;;
        *unhealthy) echo 'NOT READY: docker logs registry' ;;
        *) echo 'STOPPED: docker start registry' ;;
        esac
}

# ready CONTAINER: waits until its health check passes. Fails when it ends, says unhealthy, or takes too long.
ready() {
        waited=0
        while [ "$waited" -lt "$ready_seconds" ]; do
                case $(health "$1") in
                'running healthy') return 0 ;;
                *unhealthy | exited* | dead* | '') return 1 ;;
                esac
                docker exec "$1" /usr/bin/orlop health >/dev/null 2>&1 && return 0
                sleep 2
                waited=$((waited + 2))
        done
        return 1
}

# The names that the certificate must hold, as the registry's configuration file: one a line.
configuration() {
        echo '# Written by the appliance: the names and addresses of this machine, for the certificate.'
        echo '[network]'
        {
                hostname
                addresses | awk '{ print $2 }' | sort -u
        } | awk 'NR == 1 { print "name = " $1 } NR > 1 && NR <= 32 { print "        " $1 }'
}

# Writes the configuration where it changed, and has the registry read it.
configure_registry() {
        new=$(configuration)
        [ "$new" != "$(cat "$name_file" 2>/dev/null)" ] || return 0
        printf '%s\n' "$new" | write "$name_file" 644
        if docker_runs; then docker kill --signal HUP registry >/dev/null 2>&1 || true; fi
}
