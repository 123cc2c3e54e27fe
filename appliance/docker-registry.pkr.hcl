# The other builder, for those who want Debian's installer: Packer with VirtualBox. The same provisioning scripts as the default builder.
#
#     appliance/packer.sh build -var iso_url=debian-13-netinst.iso -var iso_checksum=sha256:...
#
# packer.sh prepares the folders named below. There are two machines because the Vagrant box has Vagrant's user and the other has not.

variable "iso_url" {
  type = string
}
variable "iso_checksum" {
  type = string
}
variable "bundle" {
  type = string
}
variable "http_directory" {
  type = string
}
variable "packer_password" {
  type = string
}
variable "output" {
  type    = string
  default = "."
}
variable "memory_mb" {
  type    = string
  default = "1024"
}
variable "cpus" {
  type    = string
  default = "2"
}
variable "disk_mb" {
  type    = string
  default = "20480"
}

source "virtualbox-iso" "machine" {
  vm_name              = "orlop-registry"
  guest_os_type        = "Debian_64"
  guest_additions_mode = "disable"
  iso_url              = var.iso_url
  iso_checksum         = var.iso_checksum
  http_directory       = var.http_directory
  boot_wait            = "5s"
  boot_command = [
    "<esc><wait>",
    "auto priority=critical url=http://{{ .HTTPIP }}:{{ .HTTPPort }}/preseed.cfg net.ifnames=0<enter>"
  ]
  disk_size            = var.disk_mb
  hard_drive_interface = "sata"
  headless             = true
  ssh_username         = "packer"
  ssh_password         = var.packer_password
  ssh_timeout          = "60m"
  shutdown_command     = "sudo sh -c 'rm -rf /tmp/orlop-appliance /etc/sudoers.d/packer; userdel -r -f packer; systemctl poweroff'"
  format               = "ova"
  output_directory     = "${var.output}/output-virtualbox-iso"
  output_filename      = "orlop-registry"
  vboxmanage = [
    ["modifyvm", "{{.Name}}", "--memory", "${var.memory_mb}"],
    ["modifyvm", "{{.Name}}", "--cpus", "${var.cpus}"],
    ["modifyvm", "{{.Name}}", "--nic2", "hostonly", "--hostonlyadapter2", "vboxnet0"]
  ]
}

source "virtualbox-iso" "box" {
  vm_name              = "orlop-registry-box"
  guest_os_type        = "Debian_64"
  guest_additions_mode = "disable"
  iso_url              = var.iso_url
  iso_checksum         = var.iso_checksum
  http_directory       = var.http_directory
  boot_wait            = "5s"
  boot_command = [
    "<esc><wait>",
    "auto priority=critical url=http://{{ .HTTPIP }}:{{ .HTTPPort }}/preseed.cfg net.ifnames=0<enter>"
  ]
  disk_size            = var.disk_mb
  hard_drive_interface = "sata"
  headless             = true
  ssh_username         = "packer"
  ssh_password         = var.packer_password
  ssh_timeout          = "60m"
  shutdown_command     = "sudo sh -c 'rm -rf /tmp/orlop-appliance /etc/sudoers.d/packer; userdel -r -f packer; systemctl poweroff'"
  format               = "ovf"
  output_directory     = "${var.output}/output-virtualbox-iso-box"
  vboxmanage = [
    ["modifyvm", "{{.Name}}", "--memory", "${var.memory_mb}"],
    ["modifyvm", "{{.Name}}", "--cpus", "${var.cpus}"]
  ]
}

build {
  sources = ["source.virtualbox-iso.machine", "source.virtualbox-iso.box"]

  provisioner "file" {
    source      = var.bundle
    destination = "/tmp"
  }

  provisioner "shell" {
    execute_command = "sudo sh '{{ .Path }}'"
    inline = [
      "set -e",
      "for script in setup docker registry; do sh -e /tmp/orlop-appliance/scripts/$script.sh; done"
    ]
  }

  provisioner "shell" {
    only            = ["virtualbox-iso.box"]
    execute_command = "sudo sh '{{ .Path }}'"
    inline          = ["sh -e /tmp/orlop-appliance/scripts/vagrant.sh"]
  }

  provisioner "shell" {
    execute_command = "sudo sh '{{ .Path }}'"
    inline          = ["sh -e /tmp/orlop-appliance/scripts/cleanup.sh"]
  }

  post-processor "vagrant" {
    only   = ["virtualbox-iso.box"]
    output = "${var.output}/vagrant/orlop-registry_virtualbox.box"
  }
}
