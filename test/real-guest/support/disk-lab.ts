import { join } from 'node:path';
import { open, writeFile } from 'node:fs/promises';
import { execa } from 'execa';
import type { Disk, Port } from '../../../manager/control/api.js';
import { libraryFolder } from '../../../testbed/debian.js';
import { findDiskTools, type DiskProgram, type DiskTools } from '../../../testbed/disk-tools.js';
import type { ExtraFile } from '../../../testbed/initramfs.js';
import type { KernelVersion } from '../../../testbed/kernel.js';
import { Lab } from '../lab.js';

export const MIB = 2 ** 20;
/** Where a guest has the tools, whose folder of the host is attached to it. */
const TOOLS_IN_GUEST = '/mnt/tools';

/** In the guest: the block device with a serial, as `vda`; fails while there is none. */
export function deviceOf(serial: string): string {
  return `basename $(dirname $(grep -lx ${serial} /sys/block/vd*/serial))`;
}

/** A lab for disks: its guest has Debian's tools for them. */
export class DiskLab {
  readonly lab: Lab;
  private readonly tools: DiskTools;
  private toolsFolder = TOOLS_IN_GUEST;

  private constructor(lab: Lab, tools: DiskTools) {
    this.lab = lab;
    this.tools = tools;
  }

  static async start(slots = 8, port: Port = 'vhost-user'): Promise<DiskLab> {
    const tools = await findDiskTools();
    return new DiskLab(await Lab.start(port, slots), tools);
  }

  /** Boots a guest that has the tools. */
  async boot(kernel: KernelVersion, processors = 1, extraFiles: readonly ExtraFile[] = []): Promise<void> {
    const { lab, tools } = this;
    await lab.boot(kernel, (args) => [...args, '-smp', String(processors)], extraFiles);
    await lab.attach(tools.root, '--tag', 'tools', '--read-only');
    const options = 'trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro';
    await lab.guest.waitFor(
      `mkdir -p ${TOOLS_IN_GUEST} && mount -t 9p -o ${options} tools ${TOOLS_IN_GUEST}`,
    );
  }

  /** For a guest whose mounts are to break: the tools are read no more. */
  async toolsIntoMemory(): Promise<void> {
    const folder = '/tools';
    await this.lab.sh(`mkdir ${folder}; cp -a ${TOOLS_IN_GUEST}/usr ${folder}; umount ${TOOLS_IN_GUEST}`);
    await this.lab.detach('tools');
    this.toolsFolder = folder;
  }

  /** A tool's command line in the guest. */
  inGuest(program: DiskProgram): string {
    return this.tools.command(program, this.toolsFolder).join(' ');
  }

  /** Starts a tool on the host, or runs it to its end. */
  onHost(program: DiskProgram, ...words: string[]) {
    const [file, ...prefix] = this.tools.command(program);
    return execa(file, [...prefix, ...words], { stdin: 'ignore', reject: false, forceKillAfterDelay: 2000 });
  }

  /** nbdkit looks for its plugins and filters where they are installed, and these are not. */
  nbdkitModule(kind: 'plugin' | 'filter', name: string): string {
    return join(this.tools.root, libraryFolder, `nbdkit/${kind}s`, `nbdkit-${name}-${kind}.so`);
  }

  /** A path in the lab's own folder. */
  path(name: string): string {
    return join(this.lab.folder, name);
  }

  /** An image without contents. */
  async image(name: string, sizeBytes: number): Promise<string> {
    const path = this.path(name);
    await writeFile(path, '');
    const file = await open(path, 'r+');
    await file.truncate(sizeBytes);
    await file.close();
    return path;
  }

  /** Adds a disk and waits until the guest has it. Answers its path in the guest's /dev. `words` are as for `chassis disk add`. */
  async add(name: string, ...words: string[]): Promise<string> {
    const { lab } = this;
    const { disk } = await lab.daemon.json<{ disk: Disk }>('disk', 'add', '--name', name, ...words);
    await lab.guest.waitFor(deviceOf(disk.serial));
    return `/dev/${await lab.sh(deviceOf(disk.serial))}`;
  }

  async remove(name: string): Promise<void> {
    await this.lab.daemon.json('disk', 'remove', name);
  }

  /** What the guest runs to write all over a disk in any order, and to read back and check every block. */
  fioVerify(device: string, sizeMiB: number): string {
    return [
      `${this.inGuest('fio')} --name=verify --filename=${device} --size=${sizeMiB}M --direct=1`,
      '--ioengine=libaio --iodepth=16 --rw=randwrite --bsrange=4k-128k --bs_unaligned=0',
      '--verify=crc32c --verify_fatal=1 --do_verify=1 --thread --minimal',
    ].join(' ');
  }

  stop(): Promise<void> {
    return this.lab.stop();
  }
}
