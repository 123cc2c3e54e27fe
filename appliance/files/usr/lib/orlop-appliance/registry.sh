# The registry's container: how it is made, and when it is ready. Read by the boot unit, orlop-setup and orlop-update. POSIX sh.
# shellcheck shell=sh disable=SC2034,SC2154 # variables cross files here

name_file=/etc/orlop/registry/orlop.conf
shipped=/usr/share/orlop-appliance/orlop-image.tar      # the image that the machine was built with
kept=$state/image.tar                   # the image in use, once there was an update
stored=$state/image-stored              # is there when Docker's copy of the image lies whole on the disk
ready_seconds=600

# create_registry CONTAINER IMAGE OPTION...: the container as it must be, whatever it is for; it is not started. A look at its health is a
# process to start, which a slow or busy computer must have time for: often until it is ready, seldom after that.
create_registry() {
        container=$1
        image=$2
        shift 2
        docker create --name "$container" --read-only --cap-drop ALL --security-opt no-new-privileges --pids-limit 1024 \
                --hostname "$(hostname)" --env ORLOP_CONFIG=/etc/orlop/orlop.conf --stop-timeout 60 \
                --mount type=bind,source="$storage",target=/data \
                --mount type=bind,source=/etc/orlop/registry,target=/etc/orlop,readonly \
                --health-interval 30s --health-timeout 60s --health-start-period 5m --health-start-interval 3s \
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

# load_image: into Docker, from the copy beside it. Docker does not wait until an image's files are on the disk, and a power cut
# would leave them empty: only what is followed by a sync counts. An image that is there already could be such a one.
load_image() {
        rm -f "$stored"
        archive=$shipped
        [ ! -s "$kept" ] || archive=$kept
        old=$(docker image inspect --format '{{.Id}}' orlop:installed 2>/dev/null) || old=
        [ -z "$old" ] || docker image rm --force "$old" >/dev/null
        image=$(docker load --input "$archive" | sed -n 's/^Loaded image: //p' | head -n 1)
        docker tag "$image" orlop:installed
        sync
        : >"$stored"
}

# keep_image: a copy of the image in use beside Docker, for load_image.
keep_image() {
        docker save --output "$kept.new" orlop:installed
        sync "$kept.new"
        mv "$kept.new" "$kept"
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

# was_stopped CONTAINER: by a person, which holds over a restart of the machine.
was_stopped() {
        case $(docker container inspect --format '{{.State.Status}} {{.State.ExitCode}}' "$1") in
        'exited 0' | 'exited 137' | 'exited 143') return 0 ;;
        *) return 1 ;;
        esac
}

# What a container's state is called for people.
health_word() {
        case $(health "$1") in
        'running healthy') echo 'ready' ;;
        'running starting' | '') echo 'starting' ;;
        *unhealthy) echo 'NOT READY: docker logs registry' ;;
        *) echo 'STOPPED: docker start registry' ;;
        esac
}

# ready CONTAINER: waits until its health check passes. Fails when it ends, for good or again and again, or takes too long. (Docker's word
# "unhealthy" alone may mean a slow machine.)
ready() {
        waited=0
        ends=0
        while [ "$waited" -lt "$ready_seconds" ]; do
                case $(health "$1") in
                'running healthy') return 0 ;;
                exited* | dead* | '') return 1 ;;
                restarting*) ends=$((ends + 1)) ;;
                esac
                [ "$ends" -lt 8 ] || return 1
                sleep 3
                waited=$((waited + 3))
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
