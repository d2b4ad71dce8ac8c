/**
 * Keeps manifests, and the directories that they name, in step with what runs. Changes of files only wake it: what is so is read anew each
 * time, from the files, the directories and the daemon, so that nothing depends on a change that was told twice or not at all.
 */
import { ChassisError, type Chassis, type Mount } from '../../../manager/control/api.js';
import { applyOnce } from '../apply.js';
import { Interrupted, type ApplyClient } from '../execute.js';
import { loadManifests } from '../manifest/load.js';
import { manifestFiles, pathName, readManifestFile } from '../manifest/manifest-files.js';
import type { Desired, DesiredMount } from '../plan/desired.js';
import { planApply } from '../plan/plan.js';
import { hasDrift } from '../plan/plan-item.js';
import { Alarm } from './alarm.js';
import { Failures } from './failures.js';
import { Sources } from './sources.js';
import type { WatchEvent } from './watch-event.js';
import { WatchedPaths } from './watched-paths.js';

export interface WatchOptions {
  readonly path: string;
  readonly prune: boolean;
  readonly force: boolean;
  readonly timeoutMs: number;
  readonly say: (event: WatchEvent) => void;
  /** Ends it, after the step that is under way. */
  readonly signal: AbortSignal;
  /** How often it looks although nothing is known to have changed. */
  readonly lookMs?: number;
}

/** Somebody may have changed what runs by hand, or a guest have let go. */
const LOOK_MS = 5000;

export class ManifestWatch {
  private readonly client: ApplyClient;
  private readonly options: WatchOptions;
  private readonly alarm = new Alarm();
  private readonly paths = new WatchedPaths(() => this.alarm.ring());
  private readonly sources = new Sources();
  private readonly failures = new Failures(LOOK_MS);
  /** What was read last, and what of it was good last. */
  private read = '';
  private wanted: Desired | undefined;
  /** What was said last of each thing, so that it is said once. */
  private readonly said = new Map<string, string>();

  constructor(client: ApplyClient, options: WatchOptions) {
    this.client = client;
    this.options = options;
  }

  /** Resolves once it was aborted. */
  async run(): Promise<void> {
    const { signal, path, say, lookMs = LOOK_MS } = this.options;
    say({ event: 'watching', path });
    try {
      while (!signal.aborted) {
        await this.look();
        if (!signal.aborted) await this.alarm.next(lookMs, signal);
      }
    } finally {
      await this.paths.close();
    }
  }

  private async look(): Promise<void> {
    try {
      await this.readManifests();
      await this.paths.set(this.watchedPaths());
      if (this.wanted) await this.bringInStep(this.wanted);
      this.said.delete('failed');
    } catch (error) {
      if (error instanceof Interrupted) return;
      this.tellFailure(error);
    }
  }

  /** What cannot be read leaves what was good before. */
  private async readManifests(): Promise<void> {
    const { path } = this.options;
    let isRead = false;
    try {
      const texts = await Promise.all(manifestFiles(path).map((file) => readManifestFile(file)));
      isRead = true;
      const read = JSON.stringify(texts);
      if (read === this.read) return;
      this.read = read;
      this.wanted = loadManifests(texts, { pathName: pathName(path), mayLackSources: true });
      this.failures.forget();
      this.said.delete('invalid');
    } catch (error) {
      if (!(error instanceof ChassisError)) throw error;
      const { problems } = (error as { details?: { problems?: never[] } }).details ?? {};
      this.once('invalid', { event: 'invalid', message: error.message, ...(problems && { problems }) });
      // Where a file cannot be read, it may be there again with the same contents.
      if (!isRead) this.read = '';
    }
  }

  private watchedPaths(): string[] {
    const { path } = this.options;
    const files = filesOrNone(path);
    const sources = (this.wanted ? mountsOf(this.wanted) : []).flatMap(([, { terms }]) =>
      terms.source.type === 'directory' ? [terms.source.path] : [],
    );
    return [path, ...files, ...sources];
  }

  private async bringInStep(wanted: Desired): Promise<void> {
    const gone = this.goneSources(wanted);
    const before = await this.client.list();
    await this.detachGone(wanted, before, gone);
    const options = { ...this.options, aside: gone };
    const present = withoutMounts(wanted, gone);
    const plan = planApply(present, await this.client.list(), options);
    if (!hasDrift(plan) || !this.failures.isDue(plan)) return;
    try {
      const { say } = this.options;
      await applyOnce(this.client, present, {
        ...{ ...options, dryRun: false },
        onPlan: ({ items }) => say({ event: 'plan', plan: items }),
        onDone: (step, isUndone) => say({ event: 'step', step, isUndone }),
      });
      say({ event: 'in-step', manifest: wanted.manifest });
      this.failures.forget();
    } catch (error) {
      this.failures.note(plan);
      throw error;
    }
  }

  /** `chassis/tag` of the mounts whose directory is not there, or not the one that it was. */
  private goneSources(wanted: Desired): Set<string> {
    const gone = new Set<string>();
    for (const [chassis, { name, terms }] of mountsOf(wanted)) {
      if (terms.source.type !== 'directory') continue;
      const key = `${chassis}/${name}`;
      const { path } = terms.source;
      if (this.sources.isGone(key, path)) {
        gone.add(key);
        this.once(key, { event: 'source-gone', chassis, tag: name, path });
      } else if (this.said.delete(key)) this.options.say({ event: 'source-back', chassis, tag: name, path });
    }
    return gone;
  }

  /** Each for itself: one that its guest keeps is asked for again, and keeps nothing else from happening. */
  private async detachGone(wanted: Desired, there: readonly Chassis[], gone: Set<string>): Promise<void> {
    for (const [chassis, { name: tag }] of mountsOf(wanted)) {
      const key = `${chassis}/${tag}`;
      if (!gone.has(key) || this.options.signal.aborted) continue;
      const mount = there.find((each) => each.name === chassis)?.mounts.find((each) => each.tag === tag);
      if (mount?.source && mount.managedBy === wanted.manifest) await this.detach(key, mount);
      else this.sources.forget(key);
    }
  }

  private async detach(key: string, { chassis, tag, via, state }: Mount): Promise<void> {
    const { force, timeoutMs, say } = this.options;
    // Its function stays in the guest, for when the directory is back: and its neighbours notice nothing.
    const keepFunction = via === 'function' && state === 'plugged' && !force;
    try {
      await this.client.detach(chassis, tag, { force, keepFunction, timeoutMs });
      this.sources.forget(key);
      this.said.delete(`waiting ${key}`);
      say({ event: 'detached', chassis, tag });
      // Another directory may be there already.
      this.alarm.ring();
    } catch (error) {
      if (!(error instanceof ChassisError) || error.code === 'NO_DAEMON') throw error;
      this.once(`waiting ${key}`, { event: 'waiting', chassis, tag, message: error.message });
    }
  }

  private tellFailure(error: unknown): void {
    const known = error instanceof ChassisError ? error : undefined;
    const message = error instanceof Error ? error.message : String(error);
    const suggestion = known?.suggestion;
    this.once('failed', {
      ...{ event: 'failed', code: known?.code ?? 'INTERNAL', message },
      ...(suggestion !== undefined && { suggestion }),
    });
  }

  private once(about: string, event: WatchEvent): void {
    const text = JSON.stringify(event);
    if (this.said.get(about) === text) return;
    this.said.set(about, text);
    this.options.say(event);
  }
}

function mountsOf({ chassis }: Desired): [chassis: string, mount: DesiredMount][] {
  return chassis.flatMap(({ name, mounts }) => mounts.map((mount): [string, DesiredMount] => [name, mount]));
}

function withoutMounts(wanted: Desired, without: ReadonlySet<string>): Desired {
  const chassis = wanted.chassis.map((each) => ({
    ...each,
    mounts: each.mounts.filter(({ name }) => !without.has(`${each.name}/${name}`)),
  }));
  return { ...wanted, chassis };
}

function filesOrNone(path: string): string[] {
  try {
    return manifestFiles(path);
  } catch {
    return [];
  }
}
