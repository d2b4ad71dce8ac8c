#!/bin/sh
# Makes a Debian 12 for a VM in out/: a disk image, its kernel and initrd, and a package to install in it. A daemon of chassis has to run.
#
#   sh build.sh [MIRROR]
set -eu
umask 022
PATH=$PATH:/usr/sbin:/sbin
cd "$(dirname "$0")"

# As root, with mounts of its own, so that none is left behind whatever happens; and in memory (600 MB), where dpkg need not wait for a disk.
build_apart='mount -t tmpfs build /mnt && TMPDIR=/mnt exec sh "$@"'
if [ "${TMPDIR-}" != /mnt ] && unshare --mount mount -t tmpfs build /mnt 2>/dev/null; then
  exec unshare --mount sh -c "$build_apart" sh "./${0##*/}" "$@"
fi
work=$(mktemp -d)
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT
rm -rf out
mkdir -p out/packages

# What the image has beside Debian's packages: a service that runs chassis's helper in the guest, and lets it run commands ...
mkdir -p "$work/files" "$work/root"
cd "$work/files"
mkdir -p etc/systemd/system etc/udev/rules.d etc/dpkg/dpkg.cfg.d etc/initramfs-tools/conf.d usr/share/initramfs-tools/modules.d
chassis guest-setup --format systemd --exec >etc/systemd/system/chassis-tree@.service
chassis guest-setup --format udev >etc/udev/rules.d/90-chassis-tree.rules
# ... and, of the kernel's thousands of drivers, those for what a chassis plugs in, of which the initrd has those that reach the disk.
cat >etc/dpkg/dpkg.cfg.d/chassis <<'END'
path-exclude=/lib/modules/*/kernel/drivers/*
path-exclude=/lib/modules/*/kernel/sound/*
path-include=/lib/modules/*/kernel/drivers/virtio/*
path-include=/lib/modules/*/kernel/drivers/block/virtio_blk.ko
path-include=/lib/modules/*/kernel/drivers/net/virtio_net.ko
path-include=/lib/modules/*/kernel/drivers/net/net_failover.ko
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/man/*
END
printf '%s\n' MODULES=list BUSYBOX=n COMPRESS=gzip >etc/initramfs-tools/conf.d/chassis
printf '%s\n' virtio_pci virtio_blk ext4 >usr/share/initramfs-tools/modules.d/chassis
cd "$OLDPWD"
tar --create --file "$work/files.tar" --directory "$work/files" --owner root:0 --group root:0 etc usr

# Debian's essential packages, apt, systemd and a kernel. (The hooks spare it all of Perl, which makes /usr of what was outside.) busybox is only
# fetched: a step installs it.
hooks=$(dirname "$(command -v mmdebstrap)")/../share/mmdebstrap/hooks
mmdebstrap --variant=apt --hook-dir="$hooks/merged-usr" --include=linux-image-amd64,systemd-sysv,udev --dpkgopt=force-unsafe-io \
  --essential-hook="tar-in $work/files.tar /" \
  --customize-hook='mkdir -p "$1/packages/partial"' \
  --customize-hook='chroot "$1" apt-get install --yes --download-only -o Dir::Cache::archives=/packages busybox-static' \
  bookworm "$work/root.tar" "$@"

# As root, or as if: the files of the image are root's.
[ "$(id -u)" = 0 ] || as_root=fakeroot
work=$work ${as_root-} sh -eu <<'END'
tar --extract --file "$work/root.tar" --directory "$work/root"
cp "$work/root/vmlinuz" "$work/root/initrd.img" out
mv "$work"/root/packages/*.deb out/packages
rm -r "$work/root/packages"
mke2fs -q -t ext4 -d "$work/root" out/root.img 2G
END
