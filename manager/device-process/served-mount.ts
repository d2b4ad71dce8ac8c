/** A mount while it is shown to a guest: what the guest sees of it, and what the daemon may do to it. */
import { EVERYTHING } from '../../devices/9p/fs/change-listener.js';
import type { FileSystem } from '../../devices/9p/fs/file-system.js';
import type { NodeFsContents } from '../../devices/9p/fs/node-fs/node-fs-contents.js';
import type { OverlayFs } from '../../devices/9p/fs/overlay/overlay-fs.js';
import { PolicyFs, type AuditEvent } from '../../devices/9p/fs/policy/policy-fs.js';
import {
  ChassisError,
  type AuditPage,
  type AuditQuery,
  type MountTerms,
  type Policy,
  type ReviewRequest,
  type Source,
} from '../control/api.js';
import { AuditLog } from './audit-log.js';
import { Review } from './review.js';

/** How long let-through operations are noted after somebody asked for them: longer than a request for them may wait. */
const INTEREST_MS = 60_000;

/**
 * How a mount begins: anew, or in the place of the same one of another process, which goes on until its state is restored here: what one
 * process may have at a time is left with that one until then.
 */
export type Beginning = 'anew' | 'handed over';

/** @throws ChassisError where the source, or what else the terms name, cannot be opened */
export type OpenMount = (source: Source, terms: MountTerms, beginning?: Beginning) => Promise<ServedMount>;
export type PolicyTerms = Pick<MountTerms, 'readOnly' | 'policy'>;

/** The file systems of a mount below its policy. */
export interface Layers {
  /** The outermost, which closes all. */
  readonly fs: FileSystem;
  readonly overlay: OverlayFs | undefined;
  readonly inMemory: readonly NodeFsContents[];
}

export class ServedMount {
  /** What a guest gets. Whoever closes it ends the mount. */
  readonly fs: FileSystem;
  /** Where its changes go, in place of the source. */
  readonly overlay: OverlayFs | undefined;
  /** What of it is in this process's memory alone: its source, its changes, or both, in this order. */
  readonly inMemory: readonly NodeFsContents[];
  /** Told of each change of the policy: what carries the mount has a part in it. */
  onPolicy: ((terms: PolicyTerms) => void) | undefined;
  readonly #policed: PolicyFs;
  readonly #denied = new AuditLog();
  readonly #reviews = new Set<Review>();
  #all: AuditLog | undefined;
  /** Where the numbers of the last `#all` ended. */
  #allNext = 0;
  #interest: NodeJS.Timeout | undefined;
  #revoked = false;
  #closing: Promise<void> | undefined;
  #terms: PolicyTerms;

  /**
   * Takes over the layers.
   * @throws PatternError
   */
  constructor({ fs: inner, overlay, inMemory }: Layers, terms: MountTerms) {
    this.overlay = overlay;
    this.inMemory = inMemory;
    this.#terms = { readOnly: terms.readOnly, policy: terms.policy };
    this.#policed = new PolicyFs(inner, this.#policy(terms), (events, dropped) =>
      this.#note(events, dropped),
    );
    if (terms.revoked) this.revoke();
    this.fs = {
      attach: () => this.#policed.attach(),
      saveState: (to) => this.#policed.saveState(to),
      restoreState: (bytes, descriptors) => this.#policed.restoreState(bytes, descriptors),
      close: () => this.#close(),
    };
  }

  /**
   * Holds from the guest's next operation on.
   * @throws PatternError, and the old policy stays
   */
  setPolicy(readOnly: boolean, policy: Policy | undefined): void {
    const terms = { readOnly, policy };
    this.#policed.setPolicy(this.#policy(terms));
    this.#terms = terms;
    this.onPolicy?.(terms);
  }

  /** Whether the guest may hear of a change at this path of the mount. */
  shows(path: string): boolean {
    return path === EVERYTHING || this.#policed.shows(path);
  }

  revoke(): void {
    this.#policed.revoke();
    this.#revoked = true;
  }

  /** What of its terms may have changed since it was opened. */
  get terms(): PolicyTerms & Pick<MountTerms, 'revoked'> {
    return { ...this.#terms, ...(this.#revoked && { revoked: true }) };
  }

  /** Lists, commits or drops what the guest changed, while it has the mount. @throws ChassisError BAD_REQUEST */
  review(request: ReviewRequest): Review {
    if (this.overlay === undefined)
      throw new ChassisError('BAD_REQUEST', 'it has no overlay', 'attach it with --overlay');
    const review = new Review(this.overlay, request);
    this.#reviews.add(review);
    void review.ended.then(() => this.#reviews.delete(review));
    return review;
  }

  async audit({ all, from, waitMs }: AuditQuery): Promise<AuditPage> {
    const log = all ? this.#noteAll() : this.#denied;
    return log.nextPage(from ?? (all ? log.next : 0), waitMs);
  }

  #policy({ readOnly, policy }: PolicyTerms) {
    const { allow, deny, maxBytes, maxFiles, maxOpenFiles } = policy ?? {};
    const audit = this.#all === undefined ? ('denied' as const) : ('all' as const);
    return { readOnly, allow, deny, maxBytes, maxFiles, maxOpenFiles, audit };
  }

  #note(events: readonly AuditEvent[], dropped: number): void {
    this.#all?.note(events, dropped);
    // While all is noted, nobody can say what those were that were too many.
    const refused = events.filter(({ errno }) => errno !== 0);
    this.#denied.note(refused, dropped);
  }

  #noteAll(): AuditLog {
    clearTimeout(this.#interest);
    this.#interest = setTimeout(() => this.#noteDenied(), INTEREST_MS).unref();
    if (this.#all === undefined) {
      this.#all = new AuditLog(this.#allNext);
      this.#policed.setPolicy(this.#policy(this.#terms));
    }
    return this.#all;
  }

  #noteDenied(): void {
    this.#allNext = this.#all?.next ?? this.#allNext;
    this.#all?.close();
    this.#all = undefined;
    this.#policed.setPolicy(this.#policy(this.#terms));
  }

  #close(): Promise<void> {
    return (this.#closing ??= this.#end());
  }

  async #end(): Promise<void> {
    clearTimeout(this.#interest);
    this.#denied.close();
    this.#all?.close();
    await Promise.all([...this.#reviews].map((review) => review.stop()));
    await this.#policed.close();
  }
}
