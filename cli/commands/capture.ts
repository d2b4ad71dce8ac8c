import { resolve } from 'node:path';
import { Args, Flags } from '@oclif/core';
import type { Captured } from '../../manager/control/api.js';
import { BaseCommand } from '../support/base-command.js';
import { capturedText } from '../support/networks-text.js';
import { parseBytes } from '../support/size.js';

export default class Capture extends BaseCommand {
  static override summary = 'Write what a network card sends and receives to a file, for Wireshark.';
  static override description =
    'Ends with Ctrl-C, after --for seconds, or when the file has its size: it is whole each time. Frames are written as the guest ' +
    'sends and takes them: streams that it leaves to be cut up are longer than the MTU, and have no checksums yet. With --wire ' +
    'they are cut up and have them. The daemon writes the file, for its user alone (mode 0600).';
  static override examples = [
    '<%= config.bin %> capture lan0 --out lan0.pcapng',
    '<%= config.bin %> capture lan0 --out lan0.pcapng --for 10 --max-bytes 1G',
  ];
  static override args = {
    NAME: Args.string({ description: 'The card', required: true }),
  };
  static override flags = {
    out: Flags.string({
      char: 'o',
      description: 'The file, which is made or emptied (pcapng)',
      required: true,
    }),
    'max-bytes': Flags.string({ description: 'Its largest size: 64M, 1G, or bytes', default: '256M' }),
    for: Flags.integer({ description: 'Seconds to capture [default: until Ctrl-C]', min: 1, max: 86_400 }),
    wire: Flags.boolean({
      description:
        'Write frames as a wire would carry them: none longer than the MTU, each with its checksums',
    }),
    chassis: Flags.string({ char: 'c', description: 'The chassis; needless where there is only one' }),
  };

  async run(): Promise<Captured & { path: string }> {
    const { args, flags } = await this.parse(Capture);
    const path = resolve(flags.out);
    const maxBytes = parseBytes(flags['max-bytes']);
    const chassis = await this.chassisName(flags.chassis);
    const client = await this.client();
    const end = () => void client.endCapture(chassis, args.NAME).catch(() => undefined);
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, end);
    const forMs = flags.for === undefined ? {} : { forMs: flags.for * 1000 };
    const captured = await client.capture(chassis, args.NAME, {
      ...{ path, maxBytes, asOnWire: flags.wire, ...forMs },
    });
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, end);
    this.log(capturedText(path, captured));
    return { path, ...captured };
  }
}
