#!/bin/sh
# Makes a Debian 12 for a VM in out/: a disk image, its kernel and initrd, and a package to install in it. A daemon of chassis has to run.
#
#   sh build.sh [MIRROR]
set -eu
umask 022
PATH=$PATH:/usr/sbin:/sbin
cd "$(dirname "$0")"
rm -rf out
mkdir -p out/files out/root

# What the image has beside Debian's packages: a service that runs chassis's helper in the guest, and lets it run commands ...
cd out/files
mkdir -p etc/systemd/system etc/udev/rules.d etc/initramfs-tools/conf.d usr/share/initramfs-tools/modules.d
chassis guest-setup --format systemd --exec >etc/systemd/system/chassis-tree@.service
chassis guest-setup --format udev >etc/udev/rules.d/90-chassis-tree.rules
# ... and for the initrd, which of the thousands of drivers it takes to reach the disk.
echo MODULES=list >etc/initramfs-tools/conf.d/chassis
printf '%s\n' virtio_pci virtio_blk ext4 >usr/share/initramfs-tools/modules.d/chassis
cd ../..
tar --create --file out/files.tar --directory out/files --owner root:0 --group root:0 etc usr

# Debian's smallest base, systemd and a kernel. busybox is only fetched: a step installs it.
mmdebstrap --variant=minbase --include=linux-image-amd64,systemd-sysv,udev \
  --essential-hook='tar-in out/files.tar /' \
  --customize-hook='mkdir -p "$1/packages/partial"' \
  --customize-hook='chroot "$1" apt-get install --yes --download-only -o Dir::Cache::archives=/packages busybox-static' \
  bookworm out/root.tar "$@"

# As root, or as if: the files of the image are root's.
[ "$(id -u)" = 0 ] || as_root=fakeroot
${as_root-} sh -eu <<'END'
cd out
tar --extract --file root.tar --directory root
cp root/vmlinuz root/initrd.img .
mkdir packages && mv root/packages/*.deb packages && rm -r root/packages
mke2fs -q -t ext4 -d root root.img 2G
rm -r root root.tar files files.tar
END
