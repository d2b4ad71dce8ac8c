import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readBytes } from '../../../devices/blk/backends/bytes.js';
import { MemoryBackend } from '../../../devices/blk/backends/memory/memory-backend.js';
import { VirtioBlk } from '../../../devices/blk/virtio-blk.js';
import { HostDirectory } from '../../../devices/9p/fs/host-directory/host-directory.js';
import { LINUX_VIRTIO_MSIZE_MAX_BYTES, Virtio9p } from '../../../devices/9p/virtio-9p.js';
import type { VirtioDevice } from '../../../devices/virtio/device.js';

/** What goes each way: enough for messages of all sizes, and no whole number of blocks or pages for a file. */
const FILE_BYTES = 200_001;
const DISK_HALF_BYTES = 512 * 1024;

/** A device with bytes in it. */
export interface Contents {
  readonly device: VirtioDevice;
  /** SHA-256 of what a guest is to read. */
  readonly sha256: string;
  /**
   * A script for a Linux guest with two processors: three readers at once read it all, each prints its digest; then it writes as many random
   * bytes, and prints theirs. `functionFolder` is the PCI function's in sysfs.
   */
  script(functionFolder: string): string;
  /** SHA-256 of what the guest has written. */
  readonly writtenSha256: () => Promise<string>;
}

/** A directory over 9p. The tag is also the name of its folder, below `parentFolder`. */
export async function shareContents(
  parentFolder: string,
  tag: string,
  log: (line: string) => void,
): Promise<Contents> {
  const folder = join(parentFolder, tag);
  const bytes = randomBytes(FILE_BYTES);
  await mkdir(folder);
  await writeFile(join(folder, 'from-host'), bytes);
  const device = new Virtio9p(await HostDirectory.open(folder), tag, {
    maxMsizeBytes: LINUX_VIRTIO_MSIZE_MAX_BYTES,
    readOnly: false,
    maxFids: 1000,
    maxOpenFiles: 1000,
    log,
  });
  return {
    device,
    sha256: sha256(bytes),
    script: () => shareScript(tag),
    writtenSha256: async () => sha256(await readFile(join(folder, 'from-guest'))),
  };
}

/** A disk, of which the guest reads the first half and writes the second. */
export function diskContents(queues: number | undefined, log: (line: string) => void): Contents {
  const bytes = randomBytes(2 * DISK_HALF_BYTES);
  const backend = MemoryBackend.of(bytes);
  return {
    device: new VirtioBlk(backend, { serial: 'drivers', queues, log }),
    sha256: sha256(bytes.subarray(0, DISK_HALF_BYTES)),
    script: diskScript,
    writtenSha256: async () => sha256(await readBytes(backend, DISK_HALF_BYTES, DISK_HALF_BYTES)),
  };
}

function shareScript(tag: string): string {
  const options = `trans=virtio,version=9p2000.L,msize=${LINUX_VIRTIO_MSIZE_MAX_BYTES}`;
  return `set -e
    folder=/mnt/${tag}
    mkdir $folder
    mount -t 9p -o ${options} ${tag} $folder
    for reader in 1 2 3; do sha256sum <$folder/from-host & done
    wait
    head -c ${FILE_BYTES} /dev/urandom | tee $folder/from-guest | sha256sum
    umount $folder`;
}

/** Each processor has a queue of its own, where there are two. What is written goes to the disk many pages at a time. */
function diskScript(functionFolder: string): string {
  return `set -e
    disk=/dev/$(ls ${functionFolder}/virtio*/block)
    read_half() {
      taskset -c $1 dd if=$disk iflag=direct,count_bytes bs=$2 count=${DISK_HALF_BYTES} 2>/dev/null | sha256sum
    }
    read_half 0 4k & read_half 1 64k & read_half 1 512k &
    wait
    head -c ${DISK_HALF_BYTES} /dev/urandom >/tmp/half
    dd if=/tmp/half of=$disk bs=${DISK_HALF_BYTES} seek=1 conv=fsync 2>/dev/null
    sha256sum </tmp/half`;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
