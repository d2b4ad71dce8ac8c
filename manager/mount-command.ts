/** The commands that mount a tag, or a mount of the tree, in a Linux guest. */
import { TREE_MOUNT_OPTIONS } from '../devices/9p/fs/mount-tree/guest-setup.js';
import { shellQuote } from '../devices/shell-quote.js';

/** Linux's largest on virtio; without the option it asks for far less and is slow. */
const MSIZE_BYTES = 512_000;

/** The tag of the tree, and where a guest mounts it, by hand or by the unit that `guest-setup` prints. */
export const TREE_TAG = 'chassis';
export const TREE_MOUNT_POINT = `/run/chassis/${TREE_TAG}`;

export const TREE_MOUNT_COMMAND = `mkdir -p ${TREE_MOUNT_POINT} && mount -t 9p -o ${TREE_MOUNT_OPTIONS} ${TREE_TAG} ${TREE_MOUNT_POINT}`;

/** Shows a mount of the tree in a place of its own; the guest's helper does so where a target was asked for. */
export function bindCommand(tag: string, target: string | undefined): string {
  const from = shellQuote(`${TREE_MOUNT_POINT}/${tag}`);
  return `mount --bind ${from} ${shellQuote(target ?? mountPoint(tag))}`;
}

/** The tag of the function whose queues carry mounts: a name for `chassis detach`, which no guest sees. */
export const MUX_TAG = 'chassis-queues';

/** How a mount on a queue gets into a guest. Linux's driver knows the first queue of a 9p device, and its tag as of when it found it. */
export function queueMounting(tag: string, readOnly: boolean, queue: number) {
  if (queue === 0) {
    return {
      mountCommand: mountCommand(tag, readOnly),
      mountNote: 'Linux mounts this one, on the first queue of its function, and none of the others',
    };
  }
  return {
    mountNote: `it is on queue ${queue}: Linux mounts the first queue only, a driver of VIRTIO_9P_F_MULTIPLEX (docs/9p-multiplexing.md) all`,
  };
}

export function mountCommand(tag: string, readOnly: boolean): string {
  const options = `trans=virtio,version=9p2000.L,msize=${MSIZE_BYTES}${readOnly ? ',ro' : ''}`;
  // A tag that begins with a dash would be taken for an option.
  const end = tag.startsWith('-') ? '-- ' : '';
  return `mount -t 9p -o ${options} ${end}${shellQuote(tag)} ${shellQuote(mountPoint(tag))}`;
}

/** A name of its own below /mnt, also for tags like `..` and `a/b`. */
function mountPoint(tag: string): string {
  return `/mnt/${tag.replaceAll('/', '-').replace(/^\./, '_')}`;
}
