# The registry's container: how it is made, and when it is ready. Read by the boot unit, orlop-setup and orlop-update. POSIX sh.
# shellcheck shell=sh disable=SC2034,SC2154 # variables cross files here

name_file=/etc/orlop/registry/orlop.conf
shipped=/usr/share/orlop-appliance/orlop-image.tar      # the image that the machine was built with
kept=$state/image.tar                   # the image that counts, once there was an update
previous=$state/image-previous.tar      # the one that counted before
stored=$state/image-stored              # its id in Docker; is there only while Docker's copy lies whole on the disk
update_stop=$state/stopped-for-update   # an update, and no person, stopped the registry
trial_data=$storage/.trial              # what an update's trial works on
update_lock=/run/orlop/update.lock
our_label=label=org.opencontainers.image.title=Orlop
ready_seconds=600

# create_registry CONTAINER IMAGE DATA OPTION...: the container as it must be, whatever it is for; it is not started. A look at its health is
# a process to start, which a slow or busy computer must have time for: often until it is ready, seldom after that.
create_registry() {
        container=$1
        image=$2
        data=$3
        shift 3
        docker create --name "$container" --read-only --cap-drop ALL --security-opt no-new-privileges --pids-limit 1024 \
                --hostname "$(hostname)" --env ORLOP_CONFIG=/etc/orlop/orlop.conf --stop-timeout 60 \
                --mount type=bind,source="$data",target=/data \
                --mount type=bind,source=/etc/orlop/registry,target=/etc/orlop,readonly \
                --health-interval 30s --health-timeout 60s --health-start-period 5m --health-start-interval 3s \
                "$@" "$image" >/dev/null
}

# publish: the registry itself, started, from the image that counts.
publish() {
        docker tag "$(cat "$stored")" orlop:installed &&
                create_registry registry orlop:installed "$storage" --restart unless-stopped --publish "$REGISTRY_PORT:5000" &&
                docker start registry >/dev/null
}

# The image that a container was made from; nothing where there is no such container.
image_of() {
        docker container inspect --format '{{.Image}}' "$1" 2>/dev/null || :
}

# The registry's container is there, and is made from the image that counts.
is_current() {
        [ -s "$stored" ] && [ "$(image_of registry)" = "$(cat "$stored")" ]
}

# The archive of the image that counts.
archive() {
        if [ -s "$kept" ]; then printf '%s\n' "$kept"; else printf '%s\n' "$shipped"; fi
}

# load FILE: an archive into Docker ("-": standard input); prints the image's id.
load() {
        names=$(if [ "$1" = - ]; then docker load; else docker load --input "$1"; fi) || return 1
        name=$(printf '%s\n' "$names" | sed -n 's/^Loaded image\( ID\)\{0,1\}: //p' | head -n 1)
        [ -n "$name" ] && docker image inspect --format '{{.Id}}' "$name"
}

# load_image: the image that counts, from the copy beside Docker. Docker does not wait until an image's files are on the disk, and a power
# cut would leave them empty: only what is followed by a sync counts. An image that is there already could be such a one, and each that
# shares files with it: all of Orlop's go first.
load_image() {
        for old in $(docker image ls --quiet --no-trunc --filter "$our_label"); do
                docker image rm --force "$old" >/dev/null 2>&1 || :
        done
        rm -f "$stored"
        image=$(load "$(archive)") || die "Docker does not take the registry's image: journalctl -u docker"
        docker tag "$image" orlop:installed
        sync
        printf '%s\n' "$image" | write "$stored" 644
}

# use_image IMAGE: from now on it counts. It lies whole in Docker, with its archive as $kept.new, both synced. The rename is the moment: cut
# before it, the next boot loads the old archive; after it, the new one. The boot's script makes the container.
use_image() {
        if [ -s "$kept" ]; then ln -f "$kept" "$previous.new"; else ln -sf "$shipped" "$previous.new"; fi
        rm -f "$stored"
        sync "$state"
        mv "$kept.new" "$kept"
        sync "$state"
        printf '%s\n' "$1" | write "$stored" 644
        end_update
}

# end_update: whatever an update left, finished or interrupted, goes. Nothing of it is the registry's own.
end_update() {
        docker rm --force registry-trial >/dev/null 2>&1 || :
        rm -rf --one-file-system "$trial_data"
        rm -f "$kept.new" "$update_stop".new.* "$stored".new.*
        # shellcheck disable=SC3013 # dash knows -ef
        if [ "$previous.new" -ef "$(archive)" ]; then
                rm -f "$previous.new"
        elif [ -e "$previous.new" ]; then
                mv "$previous.new" "$previous"
        fi
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
                exited* | dead* | created* | '') return 1 ;;
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
        printf '%s\n' "$new" | write "$name_file" 644 || return
        if docker_runs; then docker kill --signal HUP registry >/dev/null 2>&1 || true; fi
}
