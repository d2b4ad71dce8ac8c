import { Args, Flags } from '@oclif/core';
import { ChassisError } from '../../manager/control/api.js';
import type { GuestAddress } from '../guest/guest-run.js';
import type { Copied } from '../guest/copy/copied.js';
import { copyIn } from '../guest/copy/copy-in.js';
import { copyOut } from '../guest/copy/copy-out.js';
import { parsePlace } from '../guest/copy/place.js';
import { BaseCommand } from '../support/base-command.js';
import { parseBytes, sizeText } from '../support/size.js';

const MAX_ENTRIES = 1_000_000;

export default class Cp extends BaseCommand {
  static override summary = 'Copy files and directories between the host and a guest.';
  static override description =
    'One of the two is CHASSIS:/path, or :/path where there is only one chassis. As with docker cp, a directory that is there gets the source as ' +
    'an entry of its own, and DIR/. is what is in DIR. Modes, times and symbolic links are kept; in the guest files are root’s, on the host the ' +
    'caller’s, without set-user-id bits. Needs the helper with --exec in the guest, and tar there.';
  static override examples = [
    '<%= config.bin %> cp ./site dev:/srv/www',
    '<%= config.bin %> cp dev:/var/log/. ./logs',
    '<%= config.bin %> cp :/etc/os-release .',
  ];
  static override args = {
    SRC: Args.string({ description: 'What is copied', required: true }),
    DST: Args.string({ description: 'Where to', required: true }),
  };
  static override flags = {
    'max-size': Flags.string({
      description: 'The most that is taken from a guest: 512M, 2G, or bytes',
      default: '16G',
    }),
  };

  async run(): Promise<Copied> {
    const { args, flags } = await this.parse(Cp);
    const [from, to] = [parsePlace(args.SRC), parsePlace(args.DST)];
    if (from.kind === to.kind)
      throw new ChassisError(
        'BAD_REQUEST',
        'a copy is between the host and a guest',
        'write one of the two as CHASSIS:/path',
      );
    const limits = { maxBytes: parseBytes(flags['max-size']), maxEntries: MAX_ENTRIES };
    const copied =
      from.kind === 'guest'
        ? await copyOut(await this.address(from.chassis), from.path, to.path, limits)
        : await copyIn(await this.address(to.kind === 'guest' ? to.chassis : ''), from.path, to.path);
    const { entries, bytes, skipped } = copied;
    this.log(`${entries} ${entries === 1 ? 'entry' : 'entries'}, ${sizeText(bytes)}`);
    if (skipped > 0) this.log(`left out: ${skipped} that are no files, directories or links`);
    return copied;
  }

  private async address(chassis: string): Promise<GuestAddress> {
    const name = await this.chassisName(chassis === '' ? undefined : chassis);
    return { client: await this.client(), chassis: name };
  }
}
