import { resolve } from 'node:path';
import { Args, Flags } from '@oclif/core';
import { DISK_QUEUES_DEFAULT, DISK_QUEUES_MAX, MAX_SLOTS, type Disk } from '../../../manager/control/api.js';
import { BaseCommand } from '../../support/base-command.js';
import { defaultDiskName, diskSourceOf } from '../../support/disk-source.js';
import { addedText } from '../../support/disks-text.js';
import { permanentFlag } from '../../support/permanent-flag.js';

export default class DiskAdd extends BaseCommand {
  static override summary = 'Plug a disk into the running VM, in a slot of its own.';
  static override description =
    'Done when the VMM has the device. DISK is an image file or block device with raw contents, "mem:SIZE" for a fresh disk in ' +
    'memory that is thrown away with it, or an NBD address, for which nbdkit and qemu-nbd bring qcow2 and remote storage. ' +
    'Without a VM the disk waits, and is there when it boots.';
  static override examples = [
    '<%= config.bin %> disk add debian.img',
    '<%= config.bin %> disk add debian.img --overlay --name throwaway',
    '<%= config.bin %> disk add debian.img --overlay --overlay-dir /var/tmp',
    '<%= config.bin %> disk add /dev/vg0/data --serial data-1',
    '<%= config.bin %> disk add mem:2G --name scratch',
    "<%= config.bin %> disk add 'nbd+unix:///?socket=/run/qcow2.sock' --name root",
    '<%= config.bin %> disk add --cloud-init user-data.yaml --name seed',
  ];
  static override args = {
    DISK: Args.string({ description: 'A file, mem:SIZE (10G, 512M), or an NBD address' }),
  };
  static override flags = {
    'cloud-init': Flags.string({
      description:
        'Instead of DISK: a read-only disk that gives this file to cloud-init in the guest as its user data (NoCloud)',
    }),
    overlay: Flags.boolean({
      description:
        'Leave DISK as it is: what the guest writes is kept in memory (4 GiB at most), and lost with the disk',
    }),
    'overlay-dir': Flags.string({
      description: 'Keep it in a file without a name in this folder instead, as long as there is room',
      dependsOn: ['overlay'],
    }),
    'read-only': Flags.boolean({ char: 'r', description: 'The guest cannot change anything' }),
    serial: Flags.string({
      description: 'What the guest knows it by, up to 20 characters [default: the first 20 of the name]',
    }),
    queues: Flags.integer({
      description: 'Queues of requests: the guest takes as many as it has processors, at most',
      default: DISK_QUEUES_DEFAULT,
      min: 1,
      max: DISK_QUEUES_MAX,
    }),
    name: Flags.string({
      char: 'n',
      description: "What the chassis knows it by [default: the file's name without extension]",
    }),
    slot: Flags.integer({
      description: 'The slot, from 1 [default: the first free one]',
      min: 1,
      max: MAX_SLOTS,
    }),
    permanent: permanentFlag('remove it'),
    chassis: Flags.string({ char: 'c', description: 'The chassis; needless where there is only one' }),
    port: Flags.option({
      description: "How it reaches the VMM: QEMU's own vhost-user disk where there is one, or what you say",
      options: ['auto', 'vfio-user', 'vhost-user'] as const,
      default: 'auto',
    })(),
    timeout: Flags.integer({ description: 'Seconds to wait for the VMM', default: 30, min: 1 }),
  };

  async run(): Promise<{ disk: Disk; durationMs: number }> {
    const { args, flags } = await this.parse(DiskAdd);
    const source = diskSourceOf(args.DISK, flags['cloud-init']);
    const name = flags.name ?? defaultDiskName(source);
    const chassis = await this.chassisName(flags.chassis);
    const started = performance.now();
    const disk = await (
      await this.client()
    ).addDisk(chassis, {
      ...{ name, source, overlay: flags.overlay, readOnly: flags['read-only'] },
      overlayDirectory: flags['overlay-dir'] && resolve(flags['overlay-dir']),
      ...{ serial: flags.serial, queues: flags.queues, slot: flags.slot },
      ...{ permanent: flags.permanent, port: flags.port },
      timeoutMs: flags.timeout * 1000,
    });
    this.log(addedText(disk));
    return { disk, durationMs: performance.now() - started };
  }
}
