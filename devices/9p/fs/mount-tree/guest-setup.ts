/**
 * What a guest can be given so that it mounts a tree by itself, in place of a command typed by hand: a systemd unit that mounts the
 * tree of a tag and runs its helper, and a udev rule that starts the unit whenever the tag turns up, at boot or later.
 */

/** The unit's name in /etc/systemd/system: a template, whose instances are tags. */
export const SYSTEMD_UNIT_NAME = 'chassis-tree@.service';
/** The rule's name in /etc/udev/rules.d. */
export const UDEV_RULE_NAME = '90-chassis-tree.rules';

/** cache=none, because the tree changes without the guest's doing. */
export const TREE_MOUNT_OPTIONS = 'trans=virtio,version=9p2000.L,msize=512000,cache=none';

/** Tags that can be an instance's name and a directory's as they are. */
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/;

/**
 * The unit, whatever its tag: it mounts at /run/chassis/TAG. Stopping it leaves what is mounted from the tree where it is. With `exec`, the
 * host may run commands in the guest; stopping it ends those.
 */
export function systemdUnit({ exec }: { readonly exec: boolean }): string {
  return `# /etc/systemd/system/${SYSTEMD_UNIT_NAME}
[Unit]
Description=Chassis mount tree %i
Documentation=file:///run/chassis/%i/ctl/helper.sh

[Service]
Type=exec
ExecStartPre=/bin/mkdir -p /run/chassis/%i
ExecStartPre=/bin/sh -c 'grep -qF " /run/chassis/%i 9p " /proc/self/mounts || exec mount -t 9p -o ${TREE_MOUNT_OPTIONS} %i /run/chassis/%i'
ExecStart=/bin/sh /run/chassis/%i/ctl/helper.sh ${exec ? '--exec ' : ''}/run/chassis/%i
# The mounts that the helper makes are for everybody: no mount namespace of its own.
PrivateMounts=no
Restart=on-failure
RestartSec=1
`;
}

/**
 * The rule for a tree's tag.
 *
 * @throws RangeError for a tag that would need escapes of udev's and systemd's: give the tree another one
 */
export function udevRule(tag: string): string {
  if (!TAG.test(tag))
    throw new RangeError(
      `the tag ${tag} cannot be told to udev: use letters, digits, _ . and -, and no . or - first`,
    );
  const unit = SYSTEMD_UNIT_NAME.replace('@', `@${tag}`);
  return `# /etc/udev/rules.d/${UDEV_RULE_NAME}
# The driver says "change" once it knows the tag.
ACTION=="add|change", SUBSYSTEM=="virtio", DRIVER=="9pnet_virtio", ATTR{mount_tag}=="${tag}", TAG+="systemd", ENV{SYSTEMD_WANTS}+="${unit}"
`;
}
