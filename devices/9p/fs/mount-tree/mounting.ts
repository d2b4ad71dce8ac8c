/**
 * Where the guest is to mount a child, what its helper has said of that, and who waits for it. Events tell the helper what is wanted
 * now, and never what to do next: a question that is withdrawn, or answered late, leads back to what is wanted.
 */
import { TreeError, type TreeErrorCode } from './tree-error.js';

/** What is known of a child in the guest. */
export const ChildState = {
  /** It is to be seen in the tree, and mounted nowhere else. */
  shown: 'shown',
  /** The guest's helper has not said yet that it is mounted at its target. */
  waiting: 'waiting',
  mounted: 'mounted',
  /** The helper could not mount it. */
  failed: 'failed',
  /** The helper is asked to unmount it. */
  releasing: 'releasing',
  /** Nothing in the guest uses it any more, as far as the helper knows: it can be removed. */
  released: 'released',
} as const;
export type ChildState = (typeof ChildState)[keyof typeof ChildState];

/** What a helper answers. */
export const Answer = { mounted: 'mounted', failed: 'failed', unmounted: 'unmounted', busy: 'busy' } as const;
export type Answer = (typeof Answer)[keyof typeof Answer];

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: TreeError) => void;
  readonly timer: ReturnType<typeof setTimeout>;
}

export interface KeptMounting {
  readonly state: ChildState;
  readonly detail: string;
}

const HELPER_HINT = 'no answer from the guest in time: is its helper running?';

export class Mounting {
  /** The child's name, as the operator gave it. */
  readonly name: string;
  readonly target: string | undefined;
  /** The last `failed` or `busy` in the guest's words. */
  detail = '';
  #state: ChildState;
  /** Where `releasing` leads back to. */
  #before: ChildState;
  /** Those that wait until it is mounted. */
  #mountWaiters: Waiter[] = [];
  /** The one that waits until it is released. */
  #releaseWaiter: Waiter | undefined;
  /** Tells helpers what is wanted. */
  readonly #announce: () => void;

  constructor(name: string, target: string | undefined, announce: () => void) {
    this.name = name;
    this.target = target;
    this.#state = target === undefined ? ChildState.shown : ChildState.waiting;
    this.#before = this.#state;
    this.#announce = announce;
  }

  get state(): ChildState {
    return this.#state;
  }

  /** What another one goes on from: a release that was asked for here is its asker's to ask for again. */
  get kept(): KeptMounting {
    const state = this.#state === ChildState.releasing ? this.#before : this.#state;
    return { state, detail: this.detail };
  }

  resume({ state, detail }: KeptMounting): void {
    this.#state = state;
    this.detail = detail;
  }

  /** True where the helper is not to have it mounted. */
  get unwanted(): boolean {
    return this.#state === ChildState.releasing || this.#state === ChildState.released;
  }

  async mounted(timeoutMs: number): Promise<void> {
    switch (this.#state) {
      case ChildState.mounted:
        return;
      case ChildState.shown:
        throw this.#error('NO_TARGET', 'has no place to be mounted at: it is seen in the tree alone');
      case ChildState.failed:
        throw this.#error('FAILED', this.detail);
      case ChildState.releasing:
      case ChildState.released:
        throw this.#error('RELEASING', 'is being released');
      case ChildState.waiting:
        await new Promise<void>((resolve, reject) => {
          const late = (): void => {
            this.#mountWaiters = this.#mountWaiters.filter((other) => other !== waiter);
            reject(this.#error('TIMEOUT', HELPER_HINT));
          };
          const waiter: Waiter = { resolve, reject, timer: setTimeout(late, timeoutMs) };
          this.#mountWaiters.push(waiter);
        });
    }
  }

  /** `inUse` says whether the guest has anything of it: where not, nobody need be asked. */
  async release(timeoutMs: number, inUse: boolean): Promise<void> {
    if (this.#state === ChildState.releasing)
      throw this.#error('RELEASING', 'is being released already, by somebody else');
    if (this.#state === ChildState.released) return;
    this.#endMountWaiters('RELEASING', 'is being released');
    this.#before = this.#state;
    this.#become(inUse ? ChildState.releasing : ChildState.released);
    if (!inUse) return;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => this.#giveUpRelease('TIMEOUT', HELPER_HINT), timeoutMs);
      this.#releaseWaiter = { resolve, reject, timer };
    });
  }

  /** The guest has nothing of it any more: it was started again, say. */
  forgetMount(): void {
    if (this.#state === ChildState.mounted) this.#become(ChildState.waiting);
  }

  /** A helper has said something. What does not fit is passed over: it may be late, or a lie. True where something changed. */
  take(answer: Answer, detail: string): boolean {
    switch (answer) {
      case Answer.mounted:
        return this.#takeMounted();
      case Answer.failed:
        if (this.#state !== ChildState.waiting) return false;
        this.#state = ChildState.failed;
        this.detail = detail || 'the guest does not say why';
        this.#endMountWaiters('FAILED', this.detail);
        return true;
      case Answer.unmounted:
        return this.#takeUnmounted();
      case Answer.busy:
        if (this.#state !== ChildState.releasing) return false;
        this.detail = detail || 'the guest does not say by whom';
        this.#giveUpRelease('BUSY', `in use in the guest: ${this.detail}`);
        return true;
    }
  }

  /** The child is gone. */
  end(): void {
    this.#endMountWaiters('NO_SUCH_CHILD', 'has been removed');
    this.#state = ChildState.released;
    const waiter = this.#releaseWaiter;
    this.#releaseWaiter = undefined;
    if (waiter === undefined) return;
    clearTimeout(waiter.timer);
    waiter.reject(this.#error('NO_SUCH_CHILD', 'has been removed'));
  }

  #takeMounted(): boolean {
    if (this.#state !== ChildState.waiting && this.#state !== ChildState.failed) return false;
    this.#state = ChildState.mounted;
    this.detail = '';
    for (const waiter of this.#mountWaiters.splice(0)) {
      clearTimeout(waiter.timer);
      waiter.resolve();
    }
    return true;
  }

  #takeUnmounted(): boolean {
    // Unmounted though it is wanted: an answer that came too late. It is to be mounted again.
    if (this.#state === ChildState.mounted) {
      this.#become(ChildState.waiting);
      return true;
    }
    if (this.#state !== ChildState.releasing) return false;
    this.#state = ChildState.released;
    const waiter = this.#releaseWaiter;
    this.#releaseWaiter = undefined;
    clearTimeout(waiter?.timer);
    waiter?.resolve();
    return true;
  }

  #giveUpRelease(code: TreeErrorCode, reason: string): void {
    const waiter = this.#releaseWaiter;
    this.#releaseWaiter = undefined;
    clearTimeout(waiter?.timer);
    this.#become(this.#before);
    waiter?.reject(this.#error(code, reason));
  }

  #endMountWaiters(code: TreeErrorCode, reason: string): void {
    for (const waiter of this.#mountWaiters.splice(0)) {
      clearTimeout(waiter.timer);
      waiter.reject(this.#error(code, reason));
    }
  }

  #become(state: ChildState): void {
    this.#state = state;
    this.#announce();
  }

  #error(code: TreeErrorCode, reason: string): TreeError {
    return new TreeError(code, this.name, reason);
  }
}
