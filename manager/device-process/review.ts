/**
 * A review under way: a diff, a commit or a discard, whose pages are asked for one by one. It waits while nobody takes what it found, and
 * stops where nobody has asked for long.
 */
import { FileMode, type ByteString } from '../../devices/9p/fs/file-system.js';
import {
  OverlayError,
  type Change as LibraryChange,
  type OverlayFs,
} from '../../devices/9p/fs/overlay/overlay-fs.js';
import { Selection } from '../../devices/9p/fs/overlay/selection.js';
import { ChassisError, type Change, type ReviewPage, type ReviewRequest } from '../control/api.js';
import { bytesOfPath, textOfPath } from './path-text.js';

/** Changes of one page. */
const PAGE = 256;
/** A page comes at the latest after that long, so that who waits hears how far it is. */
const PATIENCE_MS = 500;
const ABANDONED_MS = 30_000;

export class Review {
  /** Resolved once it no longer touches the overlay. */
  readonly ended: Promise<void>;
  readonly #changes: Change[] = [];
  readonly #waiting = new Set<() => void>();
  #entries = 0;
  #path: ByteString | undefined;
  #stopped = false;
  #isOver = false;
  #failure: unknown;
  #abandoned: NodeJS.Timeout;

  constructor(overlay: OverlayFs, request: ReviewRequest) {
    this.#abandoned = this.#watch();
    this.ended = this.#run(overlay, request)
      .catch((error: unknown) => {
        this.#failure = this.#explained(error, request.kind);
      })
      .finally(() => {
        this.#isOver = true;
        clearTimeout(this.#abandoned);
        this.#moved();
      });
  }

  /** What came since the last page. @throws ChassisError what it stopped with */
  async next(): Promise<ReviewPage> {
    clearTimeout(this.#abandoned);
    await this.#wait(() => this.#isOver || this.#changes.length >= PAGE, PATIENCE_MS);
    if (!this.#isOver) this.#abandoned = this.#watch();
    const changes = this.#changes.splice(0, PAGE);
    this.#moved();
    const done = this.#isOver && this.#changes.length === 0;
    if (done && this.#failure !== undefined) throw this.#failure as Error;
    const path = this.#path === undefined ? undefined : textOfPath(this.#path);
    return { changes, entries: this.#entries, ...(path !== undefined && { path }), done };
  }

  /** Resolves once it has. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#moved();
    await this.ended;
  }

  async #run(overlay: OverlayFs, { kind, paths }: ReviewRequest): Promise<void> {
    const chosen = paths.map(bytesOfPath);
    const missing = await this.#list(overlay, chosen);
    if (this.#stopped || kind === 'diff') return;
    if (missing !== undefined) throw noChange(missing);
    if (kind === 'commit')
      await overlay.commit(chosen.length > 0 ? chosen : undefined, (path) => this.#at(path));
    else await overlay.discard(chosen.length > 0 ? chosen : undefined);
  }

  /** Answers a path that has no change: it is misspelt, or was reviewed already. */
  async #list(overlay: OverlayFs, chosen: readonly ByteString[]): Promise<ByteString | undefined> {
    const selection = chosen.length > 0 ? new Selection(chosen) : undefined;
    const unseen = new Map(chosen.map((path) => [path, new Selection([path])]));
    for await (const change of overlay.diff()) {
      const ends = change.from === undefined ? [change.path] : [change.path, change.from];
      if (selection && !ends.some((path) => selection.has(path))) continue;
      for (const [path, one] of unseen) if (ends.some((end) => one.has(end))) unseen.delete(path);
      this.#changes.push(shown(change));
      await this.#wait(() => this.#stopped || this.#changes.length < PAGE);
      if (this.#stopped) break;
    }
    const [missing] = unseen.keys();
    return missing;
  }

  #at(path: ByteString): boolean {
    this.#entries++;
    this.#path = path;
    return !this.#stopped;
  }

  #explained(error: unknown, kind: string): unknown {
    if (!(error instanceof OverlayError)) return error;
    const at = this.#path === undefined ? '' : `, at ${textOfPath(this.#path)}`;
    return new ChassisError(
      'REVIEW_STOPPED',
      `${error.message}${at}`,
      `mend that (may the user of the daemon write there? is there room?), then ${kind} again`,
    );
  }

  #watch(): NodeJS.Timeout {
    return setTimeout(() => void this.stop(), ABANDONED_MS).unref();
  }

  #moved(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  /** Until it is so, or the time is over. */
  async #wait(isSo: () => boolean, timeoutMs = Infinity): Promise<void> {
    const end = performance.now() + timeoutMs;
    while (!isSo() && performance.now() < end) {
      await new Promise<void>((resolve) => {
        const timer = timeoutMs === Infinity ? undefined : setTimeout(() => wake(), end - performance.now());
        const wake = (): void => {
          clearTimeout(timer);
          this.#waiting.delete(wake);
          resolve();
        };
        this.#waiting.add(wake);
      });
    }
  }
}

function noChange(path: ByteString): ChassisError {
  return new ChassisError(
    'NO_CHANGE',
    `nothing was changed at ${textOfPath(path)}`,
    'list what was: chassis diff TAG',
  );
}

function shown({ kind, path, type, from }: LibraryChange): Change {
  return {
    kind,
    path: textOfPath(path),
    type: TYPES.get(type) ?? 'special',
    ...(from !== undefined && { from: textOfPath(from) }),
  };
}

const TYPES: ReadonlyMap<number, Change['type']> = new Map([
  [FileMode.S_IFREG, 'file'],
  [FileMode.S_IFDIR, 'directory'],
  [FileMode.S_IFLNK, 'link'],
]);
