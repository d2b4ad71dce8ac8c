import { Args, Flags } from '@oclif/core';
import type { KeptOverlay, Lost } from '../../manager/control/api.js';
import { BaseCommand } from '../support/base-command.js';
import { keptText } from '../support/changes-text.js';

export default class Detach extends BaseCommand {
  static override summary = 'Pull a mount out of the VM.';
  static override description =
    'Done when the VMM has confirmed. Unmount it in the guest first: a mount in use is refused, since a Linux guest would ' +
    'never let go of it. Nothing else is removed: a mount that shares its slot needs --slot, which takes the whole slot, or ' +
    "--keep-function. A mount of the tree is unmounted by the guest's helper, which says who holds it where it cannot. What the guest changed in an overlay is kept: chassis diff TAG, commit TAG, discard TAG.";
  static override examples = [
    '<%= config.bin %> detach work',
    '<%= config.bin %> detach work --slot',
    '<%= config.bin %> detach work --keep-function && <%= config.bin %> attach ~/other --tag work',
    '<%= config.bin %> detach work --discard',
    '<%= config.bin %> detach work --json',
  ];
  static override args = {
    TAG: Args.string({ description: 'The tag it was attached under', required: true }),
  };
  static override flags = {
    chassis: Flags.string({ char: 'c', description: 'The chassis; needless where there is only one' }),
    slot: Flags.boolean({ description: 'Let everything in the same slot go with it' }),
    'keep-function': Flags.boolean({
      description:
        'Take the mount away and leave its function in the guest, empty, for the next attach of the tag: neighbours in its slot stay',
      exclusive: ['slot', 'force'],
    }),
    force: Flags.boolean({
      description:
        'Even where the guest has it mounted: its open files fail, and (not in the tree or on a queue) its slot may stay unusable',
    }),
    discard: Flags.boolean({
      description: 'Drop what the guest changed in an overlay, which is kept otherwise',
    }),
    timeout: Flags.integer({ description: 'Seconds to wait for the guest', default: 30, min: 1 }),
  };

  async run(): Promise<{ detached: string[]; lost?: Lost; kept: KeptOverlay[]; durationMs: number }> {
    const { args, flags } = await this.parse(Detach);
    const chassis = await this.chassisName(flags.chassis);
    const started = performance.now();
    const {
      tags: detached,
      lost,
      kept = [],
    } = await (
      await this.client()
    ).detach(chassis, args.TAG, {
      slot: flags.slot,
      force: flags.force,
      keepFunction: flags['keep-function'],
      discard: flags.discard,
      timeoutMs: flags.timeout * 1000,
    });
    const gone = flags['keep-function'] ? 'is detached; its function is kept for the tag' : 'is detached';
    for (const tag of detached) this.log(`${tag} ${gone}`);
    if (lost) this.log(`  the guest lost ${lost.openFiles} open files, and knew ${lost.fids} files of it`);
    for (const overlay of kept) this.log(`  ${keptText(overlay)}`);
    return {
      detached,
      ...(lost && { lost }),
      kept,
      durationMs: performance.now() - started,
    };
  }
}
