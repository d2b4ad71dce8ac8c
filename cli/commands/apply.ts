import { Flags } from '@oclif/core';
import { ChassisError } from '../../manager/control/api.js';
import { applyOnce, type ApplyOptions } from '../apply/apply.js';
import type { Done } from '../apply/execute.js';
import { bringUpGuests, guestsDrift, type GuestsDone } from '../apply/guests/guests.js';
import { loadManifests } from '../apply/manifest/load.js';
import {
  manifestFiles,
  pathName,
  readManifestFile,
  STANDARD_INPUT,
} from '../apply/manifest/manifest-files.js';
import { manifestJsonSchema } from '../apply/manifest/schema.js';
import { planText } from '../apply/plan-text.js';
import type { Desired } from '../apply/plan/desired.js';
import { hasDrift, type PlanItem } from '../apply/plan/plan-item.js';
import { ManifestWatch } from '../apply/watch/manifest-watch.js';
import { watchEventText, type WatchEvent } from '../apply/watch/watch-event.js';
import { BaseCommand } from '../support/base-command.js';
import { ExitCode } from '../support/exit-codes.js';

interface GuestsResult extends GuestsDone {
  /** A line for each thing that would be done. */
  readonly due: readonly string[];
}

interface Result {
  readonly manifest: string;
  readonly drift: boolean;
  readonly plan: readonly PlanItem[];
  readonly done: readonly Done[];
  /** What was done with VMs and in guests, or is to be (--dry-run), where the manifest has something of that. */
  readonly guests?: GuestsResult;
  readonly durationMs: number;
}

export default class Apply extends BaseCommand {
  static override summary =
    'Make what runs be what a manifest says: chassis, mounts, disks and network cards.';
  static override description =
    'Shows the plan, then does what differs and nothing else: a second apply does nothing. What can be changed in place is; other ' +
    'changes take a thing out and put it in anew, which is refused while a guest uses it. Where a step fails, those before it are undone. ' +
    'Then VMs that do not run are started, and guests provisioned: that is not undone, and no part of --watch. Relative paths are from the folder of the manifest. docs/manifests.md has the keys.';
  static override examples = [
    '<%= config.bin %> apply -f chassis.yaml',
    '<%= config.bin %> apply -f chassis.yaml --dry-run || echo "something differs"',
    '<%= config.bin %> apply -f manifests/ --prune',
    '<%= config.bin %> apply -f chassis.yaml --watch',
    '<%= config.bin %> show dev --manifest | <%= config.bin %> apply -f -',
    '<%= config.bin %> apply --schema > chassis.schema.json',
  ];
  static override flags = {
    file: Flags.string({
      char: 'f',
      description: 'A manifest, a folder of manifests, or - for standard input',
      helpValue: 'PATH',
      exactlyOne: ['file', 'schema'],
    }),
    'dry-run': Flags.boolean({
      description: `Show the plan alone; end with ${ExitCode.DRIFT} where there is something to do`,
    }),
    prune: Flags.boolean({
      description: 'Remove what an earlier apply of the same manifest made and it does not have any more',
    }),
    force: Flags.boolean({ description: 'Also take out what a guest has mounted, or may have' }),
    watch: Flags.boolean({
      description:
        'Go on until Ctrl-C: apply each change of the manifest, and take mounts out while their directories are gone',
      exclusive: ['dry-run'],
    }),
    timeout: Flags.integer({
      description: 'Seconds to wait for the VMM, or for the guest, at each step',
      default: 30,
      min: 1,
    }),
    'boot-timeout': Flags.integer({
      description: 'Seconds that a guest which is to be provisioned may take to boot',
      default: 300,
      min: 1,
    }),
    schema: Flags.boolean({
      description: 'Print the JSON Schema of manifests, for editors',
      exclusive: ['dry-run', 'prune', 'force'],
    }),
  };

  private isWatching = false;

  async run(): Promise<unknown> {
    const { flags } = await this.parse(Apply);
    if (flags.schema) return this.printSchema();
    if (flags.watch) return this.watch(flags.file ?? '', flags);
    const desired = await desiredAt(flags.file ?? '');
    const started = performance.now();
    const interruption = interruptible();
    const options: ApplyOptions = {
      ...{ prune: flags.prune, force: flags.force, dryRun: flags['dry-run'] },
      ...{ timeoutMs: flags.timeout * 1000, signal: interruption.signal },
      onPlan: (plan) => this.log(planText(plan)),
      onDone: (done, isUndone) => this.log(doneText(done, isUndone)),
    };
    const { plan, done } = await applyOnce(await this.client(), desired, options);
    const guests = await this.guests(desired, flags, interruption.signal);
    interruption.end();
    const drift = hasDrift(plan) || guests.due.length > 0;
    if (drift && flags['dry-run']) process.exitCode = ExitCode.DRIFT;
    const result: Result = {
      ...{ manifest: desired.manifest, drift, plan: plan.items, done },
      ...(hasGuests(desired) && { guests }),
      durationMs: performance.now() - started,
    };
    return result;
  }

  private async guests(
    desired: Desired,
    flags: { 'dry-run': boolean; timeout: number; 'boot-timeout': number },
    signal: AbortSignal,
  ): Promise<GuestsResult> {
    const client = await this.client();
    if (flags['dry-run']) {
      const due = await guestsDrift(client, desired);
      for (const line of due) this.log(line);
      return { due, started: [], steps: [] };
    }
    const done = await bringUpGuests(client, desired, {
      ...{ stateDirectory: await this.stateDirectory(), timeoutMs: flags.timeout * 1000 },
      ...{ bootTimeoutMs: flags['boot-timeout'] * 1000, signal },
      onStep: (line) => this.log(line),
    });
    return { due: [], ...done };
  }

  private async watch(
    path: string,
    flags: { prune: boolean; force: boolean; timeout: number },
  ): Promise<void> {
    if (path === STANDARD_INPUT)
      throw new ChassisError('BAD_REQUEST', 'standard input cannot be watched', 'give a file or a folder');
    manifestFiles(path);
    this.isWatching = true;
    const interruption = interruptible();
    const { prune, force, timeout } = flags;
    const say = (event: WatchEvent): void => {
      if (this.jsonEnabled()) process.stdout.write(`${JSON.stringify(event)}\n`);
      else this.log(watchEventText(event));
    };
    const { signal } = interruption;
    await new ManifestWatch(await this.client(), {
      path,
      prune,
      force,
      timeoutMs: timeout * 1000,
      say,
      signal,
    }).run();
    interruption.end();
  }

  /** A watch has said all that there is, a line each. */
  override logJson(json: unknown): void {
    if (!this.isWatching) super.logJson(json);
  }

  private printSchema(): unknown {
    const schema = manifestJsonSchema();
    this.log(JSON.stringify(schema, null, 2));
    return schema;
  }
}

function hasGuests({ chassis }: Desired): boolean {
  return chassis.some(({ vm, provision }) => vm !== undefined || provision !== undefined);
}

/** Ctrl-C ends what is done after the step that is under way; a second one ends the program. */
function interruptible(): { readonly signal: AbortSignal; end(): void } {
  const controller = new AbortController();
  const stop = (): void => controller.abort();
  const signals = ['SIGINT', 'SIGTERM'] as const;
  for (const signal of signals) process.once(signal, stop);
  return { signal: controller.signal, end: () => signals.forEach((signal) => process.off(signal, stop)) };
}

/** @throws ChassisError MANIFEST_INVALID, SOURCE_MISSING */
async function desiredAt(path: string): Promise<Desired> {
  const files = manifestFiles(path);
  const texts = await Promise.all(files.map((file) => readManifestFile(file)));
  return loadManifests(texts, { pathName: pathName(path) });
}

function doneText({ operation, durationMs }: Done, isUndone: boolean): string {
  return `${isUndone ? 'undoing: ' : ''}${operation} (${(durationMs / 1000).toFixed(1)} s)`;
}
