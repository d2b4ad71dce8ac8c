/**
 * Descriptors that travel beside a state's bytes, as SCM_RIGHTS carries them: in the bytes each is its index. Here they are numbers; who
 * knows the host opens, duplicates and closes them.
 *
 * Whose they are: those of a state that is saved stay the device's, and are good until it is reset or closes one. So send or duplicate
 * them in the same turn; a save that fails leaves nothing to close. Those that came with a state are their receiver's until the device
 * takes them, one by one. What is left afterwards, whether or not the state was taken over, the receiver closes.
 */

/** Those of a state that is saved. */
export class SavedDescriptors {
  readonly #indexes = new Map<number, number>();

  /** The index of `fd`: the same one, however often it is asked for. */
  add(fd: number): number {
    const index = this.#indexes.get(fd) ?? this.#indexes.size;
    this.#indexes.set(fd, index);
    return index;
  }

  /** By index. */
  get fds(): number[] {
    return [...this.#indexes.keys()];
  }
}

/** One that came with a state. */
export interface GivenDescriptor {
  /** To look at: the receiver's still. -1 once it is taken. */
  readonly fd: number;
  /** Makes it the caller's, once: -1 from then on. */
  take(): number;
}

/** Those that came with a state. */
export class GivenDescriptors {
  readonly #fds: number[];

  constructor(fds: readonly number[]) {
    this.#fds = [...fds];
  }

  /** Undefined where the state names one that has not come, or that is taken. */
  at(index: number): GivenDescriptor | undefined {
    const fds = this.#fds;
    if (!((fds[index] ?? -1) >= 0)) return undefined;
    return {
      get fd() {
        return fds[index];
      },
      take: () => {
        const fd = fds[index];
        fds[index] = -1;
        return fd;
      },
    };
  }

  /** What nobody has taken, for their receiver to close. */
  get left(): number[] {
    return this.#fds.filter((fd) => fd >= 0);
  }
}

/** Where a state goes. */
export interface StateDestination {
  /** What only this process has in its memory is not there. */
  readonly leavesProcess: boolean;
  /** Takes those that go along; undefined where none can, as to a file. */
  readonly descriptors?: SavedDescriptors;
}

export const SAME_PROCESS: StateDestination = { leavesProcess: false };
