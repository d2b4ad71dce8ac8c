import { Args, Flags } from '@oclif/core';
import type { PolicyView } from '../../manager/control/api.js';
import { BaseCommand } from '../support/base-command.js';
import { POLICY_FLAGS, POLICY_SETTING_NAMES, policyOf } from '../support/mount-flags.js';
import { policyText } from '../support/policy-text.js';

type SettingName = keyof typeof POLICY_SETTING_NAMES;
const SETTING_NAMES = Object.keys(POLICY_SETTING_NAMES) as SettingName[];

export default class PolicyCommand extends BaseCommand {
  static override summary = 'Show what the guest may do with a mount, or change it while it is mounted.';
  static override description =
    'What is given replaces what was there, all patterns of a list at once; the rest stays. It holds from the next operation on, ' +
    'for files that are open already too, and for the next device process. A quota counts from when it is first set. Patterns are ' +
    'globs over the path within the mount.';
  static override examples = [
    '<%= config.bin %> policy work',
    "<%= config.bin %> policy work --read-only --deny '**/.env' --deny '**/*.key'",
    '<%= config.bin %> policy work --quota-bytes 1G --unset read-only',
    '<%= config.bin %> policy work --unset all --json',
  ];
  static override args = {
    TAG: Args.string({ description: 'The tag it was attached under', required: true }),
  };
  static override flags = {
    ...POLICY_FLAGS,
    unset: Flags.option({
      description: 'Give up a setting; may be repeated',
      options: ['all', ...SETTING_NAMES] as const,
      multiple: true,
      multipleNonGreedy: true,
    })(),
    chassis: Flags.string({ char: 'c', description: 'The chassis; needless where there is only one' }),
  };

  async run(): Promise<PolicyView> {
    const { args, flags } = await this.parse(PolicyCommand);
    const chassis = await this.chassisName(flags.chassis);
    const set = { ...policyOf(flags), ...(flags['read-only'] && { readOnly: true }) };
    const unset = flags.unset?.includes('all') ? SETTING_NAMES : ((flags.unset ?? []) as SettingName[]);
    const client = await this.client();
    const view =
      Object.keys(set).length + unset.length === 0
        ? await client.policy(chassis, args.TAG)
        : await client.changePolicy(chassis, args.TAG, {
            set,
            unset: unset.map((name) => POLICY_SETTING_NAMES[name]),
          });
    this.log(policyText(args.TAG, view));
    return view;
  }
}
