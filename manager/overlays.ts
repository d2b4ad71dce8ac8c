/**
 * The overlays of a chassis: where each mount's changes go, reviewing them while it is mounted and after, and what becomes of them when it
 * leaves. Changes are never lost by the way: a mount that leaves leaves them behind, until they are committed or discarded.
 */
import type { Attachment, MountToAttach } from './attachment.js';
import {
  ChassisError,
  type AttachRequest,
  type Detached,
  type DetachQuery,
  type KeptOverlay,
  type MountRequest,
  type ReviewPage,
  type ReviewRequest,
  type Upper,
} from './control/api.js';
import { isMount, type ChassisModel } from './chassis/chassis.js';
import type { DeviceFunctions } from './device-functions.js';
import type { ReviewSpec } from './device-process/protocol.js';
import type { Log } from './logging/log.js';
import { findMount, requireMount, type FoundMount } from './mount-lookup.js';
import type { OverlayNote, OverlayStore } from './overlay-store.js';
import { claimUpper } from './upper-check.js';

export interface OverlaysOptions {
  readonly model: ChassisModel;
  readonly devices: DeviceFunctions;
  readonly store: OverlayStore;
  /** Runs a job once those before it have ended. */
  readonly exclusively: <T>(job: () => Promise<T>) => Promise<T>;
  /** Starts a lost device process over. Only inside the queue. */
  readonly revive: () => Promise<void>;
  readonly log: Log;
}

const DIFF: ReviewRequest = { kind: 'diff', paths: [] };

export class Overlays {
  private readonly options: OverlaysOptions;

  constructor(options: OverlaysOptions) {
    this.options = options;
  }

  /** Changes that are kept though no mount shows them. */
  kept(): KeptOverlay[] {
    const { store } = this.options;
    return store
      .list()
      .filter(({ tag }) => !this.showing(tag))
      .map(keptOf);
  }

  /**
   * Says where the changes of each mount of an attach go, and makes the place.
   * @throws ChassisError CHANGES_PENDING where the tag has others yet; BAD_REQUEST, or as a folder cannot be used
   */
  settle(request: AttachRequest): Attachment {
    const mounts = request.mounts.map((mount) => ({ ...mount, overlay: this.place(mount, request) }));
    mounts.forEach((mount) => this.note(mount));
    return { ...request, mounts };
  }

  /** Runs an attach. Where it fails, nothing is kept of overlays in which nothing was changed. */
  async duringAttach<T>({ mounts }: AttachRequest, attach: () => Promise<T>): Promise<T> {
    try {
      return await attach();
    } catch (error) {
      for (const { tag, overlay } of mounts) if (overlay) await this.tidyInTurn(tag);
      throw error;
    }
  }

  /**
   * Runs a detach, and answers what is kept of overlays.
   * @throws ChassisError CHANGES_PENDING, before it is run, where changes in memory would be lost
   */
  async duringDetach(tag: string, query: DetachQuery, detach: () => Promise<Detached>): Promise<Detached> {
    const going = this.leaving(tag, query).filter((each) => this.showing(each));
    if (!query.discard) for (const each of going) await this.refuseLoss(each);
    const detached = await detach();
    const kept: KeptOverlay[] = [];
    for (const each of going) {
      const note = await this.tidyInTurn(each, query.discard);
      if (note) kept.push(keptOf(note));
    }
    return { ...detached, ...(kept.length > 0 && { kept }) };
  }

  /** Answers what is kept of mounts that have left. */
  async tidyAll(): Promise<KeptOverlay[]> {
    for (const { tag } of this.options.store.list()) await this.tidyInTurn(tag);
    return this.kept();
  }

  /**
   * Lists changes, commits or drops them, page by page. Whoever stops asking stops it.
   * @throws ChassisError NO_MOUNT, BAD_REQUEST without an overlay, NO_CHANGE, REVIEW_STOPPED, SOURCE_IN_USE
   */
  async *review(tag: string, request: ReviewRequest): AsyncGenerator<ReviewPage> {
    const { exclusively, revive } = this.options;
    const number = await exclusively(async () => {
      const spec = this.specOf(tag, request);
      await revive();
      return this.options.devices.requireRunning().startReview(spec);
    });
    let last: ReviewPage | undefined;
    try {
      for await (const page of this.pages(number))
        if (page.done) last = page;
        else yield page;
    } finally {
      await this.stop(number);
      if (request.kind !== 'diff') await this.tidyInTurn(tag);
    }
    // Only now: who hears that it is done finds nothing of it left.
    if (last) yield last;
  }

  /** The mount of that tag, where it has an overlay. */
  private showing(tag: string): FoundMount | undefined {
    const found = findMount(this.options.model, tag);
    return found?.mount.overlay ? found : undefined;
  }

  /** The tags that may go when this one does. */
  private leaving(tag: string, { slot }: DetachQuery): string[] {
    const { model } = this.options;
    const device = slot ? model.device(tag) : undefined;
    if (!device) return [tag];
    return model.devicesIn(device.slot).flatMap((each) => {
      if (!isMount(each)) return [];
      return [each.tag, ...(each.tree ? model.children.keys() : each.mux ? model.seats.keys() : [])];
    });
  }

  private async refuseLoss(tag: string): Promise<void> {
    const found = this.showing(tag);
    if (found?.mount.overlay?.type !== 'memory' || !this.options.devices.running) return;
    if (!(await this.run({ ...DIFF, mount: found.ref }))) return;
    throw new ChassisError(
      'CHANGES_PENDING',
      `what the guest changed in ${JSON.stringify(tag)} is in memory, and would be lost`,
      `commit it first (chassis commit ${tag}), or detach with --discard`,
    );
  }

  private async *pages(number: number): AsyncGenerator<ReviewPage> {
    for (;;) {
      const page = await this.options.devices.requireRunning().nextReview(number);
      yield page;
      if (page.done) return;
    }
  }

  private specOf(tag: string, request: ReviewRequest): ReviewSpec {
    const found = this.showing(tag);
    if (found) return { ...request, mount: found.ref };
    const note = this.options.store.get(tag);
    if (note) return { ...request, overlay: overlayOf(note) };
    requireMount(this.options.model, tag);
    throw new ChassisError(
      'BAD_REQUEST',
      `${JSON.stringify(tag)} has no overlay: what the guest changes is changed at once`,
      'attach it with --overlay',
    );
  }

  /**
   * Goes on with what a chassis says of a mount's changes that was saved.
   * @throws ChassisError CHANGES_PENDING where they are not at hand, or are another one's; BAD_REQUEST
   */
  adopt(mount: MountToAttach): void {
    const { tag, overlay } = mount;
    if (!overlay) return;
    const { store } = this.options;
    if (overlay.type === 'kept' && (overlay.path !== store.upperOf(tag) || !store.get(tag))) {
      throw new ChassisError(
        'CHANGES_PENDING',
        `what its guest changed is kept in ${overlay.path}, for another chassis or by another daemon`,
        'restore it there, under its name',
      );
    }
    const upper = overlay.type === 'kept' ? ({ type: 'kept' } as const) : overlay;
    this.place({ ...mount, overlay: upper }, { mounts: [{ ...mount, overlay: upper }] });
    this.note(mount);
  }

  /** Where the changes of a mount are to go. */
  private place(
    { source, tag, overlay, owner }: MountRequest,
    { mounts }: Pick<AttachRequest, 'mounts'>,
  ): Upper | undefined {
    if (overlay === undefined || source.type !== 'directory') return undefined;
    if (overlay.type === 'memory') return overlay;
    const upper: Upper =
      overlay.type === 'kept' ? { type: 'kept', path: this.options.store.upperOf(tag) } : overlay;
    if (overlay.type === 'directory') {
      if (mounts.length > 1)
        throw new ChassisError(
          'BAD_REQUEST',
          'one folder cannot have the changes of several mounts',
          'attach them one by one',
        );
      claimUpper(overlay.path, source.path);
    }
    const note = this.options.store.get(tag);
    if (note) refuseOthers(note, { tag, source: source.path, upper, owner });
    return upper;
  }

  private note({ tag, source, overlay, owner }: MountToAttach): void {
    if (overlay === undefined || overlay.type === 'memory' || source.type !== 'directory') return;
    this.options.store.put({ tag, source: source.path, upper: overlay, ...(owner && { owner }) });
  }

  /** `tidy`, once the jobs before it have ended; nothing changes where the chassis is going. */
  private async tidyInTurn(tag: string, discard = false): Promise<OverlayNote | undefined> {
    return this.options.exclusively(() => this.tidy(tag, discard)).catch(() => undefined);
  }

  /** Forgets what is kept of a mount that has left, where that is wanted or nothing is left to keep; else answers it. */
  private async tidy(tag: string, discard: boolean): Promise<OverlayNote | undefined> {
    const { store, log } = this.options;
    const note = store.get(tag);
    if (!note || this.showing(tag)) return undefined;
    const overlay = overlayOf(note);
    try {
      if (discard) await this.run({ kind: 'discard', paths: [], overlay });
      else if (await this.run({ ...DIFF, overlay })) return note;
    } catch (error) {
      // Nobody knows: so it stays.
      log.with({ tag }).warn('what is kept of it stays', error);
      return note;
    }
    store.remove(tag);
    return undefined;
  }

  /** With its device process, it is over. */
  private async stop(number: number): Promise<void> {
    const { devices } = this.options;
    if (devices.running)
      await devices
        .requireRunning()
        .stopReview(number)
        .catch(() => undefined);
  }

  /** To its end, or of a diff to the first change. True where there is one. */
  private async run(spec: ReviewSpec): Promise<boolean> {
    const number = await this.options.devices.requireRunning().startReview(spec);
    try {
      for await (const { changes } of this.pages(number))
        if (spec.kind === 'diff' && changes.length > 0) return true;
      return false;
    } finally {
      await this.stop(number);
    }
  }
}

function keptOf({ tag, source, upper }: OverlayNote): KeptOverlay {
  return { tag, source, upper };
}

function overlayOf({ source, upper, owner }: OverlayNote): NonNullable<ReviewSpec['overlay']> {
  return { source: { type: 'directory', path: source }, upper, ...(owner && { owner }) };
}

/** Changes of another directory, or that were made on other terms, would be mistaken for this one's. */
function refuseOthers(note: OverlayNote, wanted: OverlayNote): void {
  const isSame =
    note.source === wanted.source &&
    note.upper.type === wanted.upper.type &&
    ('path' in note.upper ? note.upper.path : '') === ('path' in wanted.upper ? wanted.upper.path : '');
  if (isSame && JSON.stringify(note.owner) === JSON.stringify(wanted.owner)) return;
  const tag = JSON.stringify(note.tag);
  throw new ChassisError(
    'CHANGES_PENDING',
    isSame
      ? `the changes that are kept for ${tag} were made with another --owner`
      : `changes of ${note.source} are kept for the tag ${tag}, in ${'path' in note.upper ? note.upper.path : 'memory'}`,
    `see them with: chassis diff ${note.tag}; commit or discard them, or choose another --tag`,
  );
}
