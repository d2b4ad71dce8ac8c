import { basename, resolve } from 'node:path';
import { Args, Flags } from '@oclif/core';
import { ChassisError, MAX_SLOTS, type Mount, type Source } from '../../manager/control/api.js';
import { BaseCommand } from '../support/base-command.js';
import { MEMORY, MOUNT_FLAGS, termsOf } from '../support/mount-flags.js';
import { attachedText } from '../support/mounts-text.js';
import { permanentFlag } from '../support/permanent-flag.js';

export default class Attach extends BaseCommand {
  static override strict = false;
  static override summary = 'Plug directories into the running VM, each as a PCI function of its own.';
  static override description =
    'Done when the VMM has the device; prints the command that mounts it in the guest. Several directories share one slot ' +
    `as a multi-function card and arrive together. "${MEMORY}" in place of a directory is a fresh file system in memory. ` +
    'Without a VM the mounts wait, and are there when it boots. Over the tree, a mount is a directory of one 9p mount that ' +
    'the guest has once, and takes no PCI event; with --target its helper (chassis guest-setup) mounts it elsewhere.';
  static override examples = [
    '<%= config.bin %> attach ~/src',
    '<%= config.bin %> attach ~/src --tag work --read-only',
    '<%= config.bin %> attach ~/src --target /work --watch',
    "<%= config.bin %> attach ~/src --deny '**/.env' --quota-bytes 1G",
    '<%= config.bin %> attach ~/src --overlay && <%= config.bin %> diff src',
    '<%= config.bin %> attach ~/src --owner squash:1000:1000',
    '<%= config.bin %> attach ~/src ~/data --tag src --tag data --slot 3',
    `<%= config.bin %> attach ${MEMORY} --tag scratch`,
    "<%= config.bin %> attach ~/src --json | jq -r '.mounts[0].mountCommand'",
  ];
  static override args = {
    DIR: Args.string({
      description: `A directory of this machine, or "${MEMORY}"; several may follow`,
      required: true,
    }),
  };
  static override flags = {
    tag: Flags.string({
      char: 't',
      description:
        "What the guest calls it; one for each directory, in order [default: the directory's name]",
      multiple: true,
    }),
    ...MOUNT_FLAGS,
    chassis: Flags.string({ char: 'c', description: 'The chassis; needless where there is only one' }),
    slot: Flags.integer({
      description: 'The slot, from 1 [default: the first free one]',
      min: 1,
      max: MAX_SLOTS,
    }),
    function: Flags.integer({
      description: 'The function of the first directory; other than 0, it waits for function 0',
      min: 0,
      max: 7,
    }),
    permanent: permanentFlag('detach'),
    port: Flags.option({
      description: 'How it reaches the VMM: what works there and performs best, or one of the two',
      options: ['auto', 'vfio-user', 'vhost-user'] as const,
      default: 'auto',
    })(),
    via: Flags.option({
      description:
        'What carries it: a function of its own, the tree, or a queue of a multiplexing function (not for stock Linux); ' +
        'auto: functions while slots are free, then the tree',
      options: ['auto', 'function', 'queue', 'tree'] as const,
      default: 'auto',
    })(),
    target: Flags.string({
      description:
        "Where the guest's helper mounts it, over the tree; one for each directory, in order. Done when it is mounted there",
      multiple: true,
    }),
    watch: Flags.boolean({
      description:
        "Have the guest's helper wake who watches files there when they change on this machine, over the tree: dev servers reload",
    }),
    timeout: Flags.integer({
      description: 'Seconds to wait for the VMM, or for the helper',
      default: 30,
      min: 1,
    }),
  };

  async run(): Promise<{ mounts: Mount[]; durationMs: number }> {
    const { argv, flags } = await this.parse(Attach);
    const sources = (argv as string[]).map(sourceOf);
    const tags = tagsFor(sources, flags.tag ?? []);
    const targets = flags.target ?? [];
    if (targets.length > sources.length) {
      throw new ChassisError('BAD_REQUEST', `${targets.length} targets for ${sources.length} directories`);
    }
    const terms = termsOf(flags);
    const chassis = await this.chassisName(flags.chassis);
    const started = performance.now();
    const mounts = await (
      await this.client()
    ).attach(chassis, {
      mounts: sources.map((source, i) => ({
        ...{ source, tag: tags[i], ...terms, watch: flags.watch },
        ...(targets[i] !== undefined && { target: targets[i] }),
      })),
      via: flags.via,
      slot: flags.slot,
      function: flags.function,
      permanent: flags.permanent,
      port: flags.port,
      timeoutMs: flags.timeout * 1000,
    });
    const durationMs = performance.now() - started;
    for (const mount of mounts) this.log(attachedText(mount));
    return { mounts, durationMs };
  }
}

function sourceOf(argument: string): Source {
  return argument === MEMORY ? { type: 'memory' } : { type: 'directory', path: resolve(argument) };
}

/** A tag for each source: those given, in order, then the directories' own names. */
function tagsFor(sources: readonly Source[], given: readonly string[]): string[] {
  if (given.length > sources.length) {
    throw new ChassisError('BAD_REQUEST', `${given.length} tags for ${sources.length} directories`);
  }
  return sources.map((source, i) => {
    if (i < given.length) return given[i];
    const name = source.type === 'directory' ? basename(source.path) : '';
    if (name !== '') return name;
    throw new ChassisError(
      'TAG_INVALID',
      `${source.type === 'memory' ? MEMORY : source.path} has no name to use as its tag`,
      'give it one with --tag',
    );
  });
}
