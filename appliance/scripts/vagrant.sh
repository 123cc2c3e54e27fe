#!/bin/sh
# Only for the boxes: Vagrant's usual user with Vagrant's published key, which `vagrant up` replaces at once by a new one. The user has
# no password. The ordinary user and its first password are not in the box. Vagrant has two published keys; older ones know and replace
# the RSA key alone, and the other would stay for everybody to use.
# shellcheck disable=SC1091,SC2154 # common.sh, and the settings that it reads
set -eu
. "$(dirname "$0")/common.sh"

[ "$USERNAME" = vagrant ] || userdel -r "$USERNAME" 2>/dev/null || true
getent passwd vagrant >/dev/null || useradd -m -s /bin/bash vagrant
usermod -p '*' vagrant
install -d -m 700 -o vagrant -g vagrant /home/vagrant/.ssh
cat >/home/vagrant/.ssh/authorized_keys <<'KEYS'
ssh-rsa AAAAB3NzaC1yc2EAAAABIwAAAQEA6NF8iallvQVp22WDkTkyrtvp9eWW6A8YVr+kz4TjGYe7gHzIw+niNltGEFHzD8+v1I2YJ6oXevct1YeS0o9HZyN1Q9qgCgzUFtdOKLv6IedplqoPkcmF0aYet2PkEDo3MlTBckFXPITAMzF8dJSIFo9D8HfdOV0IAdx4O7PtixWKn5y2hMNG0zQPyUecp4pzC6kivAIhyfHilFR61RGL+GPXQ2MWZWFYbAGjyiYJnAmCP3NOTd0jMZEnDkbUvxhMmBYSdETk1rRgm+R4LOzFUGaHqHDLKLX+FIPKcF96hrucXzcWyLbIbEgE98OHlnVYCzRdK8jlqm8tehUc9c9WhQ== vagrant insecure public key
KEYS
chown vagrant:vagrant /home/vagrant/.ssh/authorized_keys
chmod 600 /home/vagrant/.ssh/authorized_keys
echo 'vagrant ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/90-vagrant
chmod 440 /etc/sudoers.d/90-vagrant
sed -i -e "s/^USERNAME=.*/USERNAME='vagrant'/" -e 's/^FIRST_PASSWORD=.*/FIRST_PASSWORD=none/' /etc/orlop/machine.conf
