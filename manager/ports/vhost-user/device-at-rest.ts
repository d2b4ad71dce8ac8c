/** A device without a driver at work: as at power-on, busy with becoming that, or given a state that the rings of a driver are to go on from. */
import type { VirtioDevice } from '../../../devices/virtio/device.js';
import { describeError } from '../../../devices/virtio/device-session.js';
import { giveDeviceState } from './device-state.js';

export interface DeviceAtRestEvents {
  /** It was busy, and is not any more. It must not throw. */
  readonly ready: () => void;
  readonly log: (message: string) => void;
}

/** Whose state the device was given. */
export interface ExpectedDriver {
  /** What it agreed to. */
  readonly features: bigint;
  /**
   * Where its rings go on, in the encoding of VHOST_USER_SET_VRING_BASE, for a state that comes from a file: no front-end has vouched for it, so it waits for
   * the one whose rings do, whoever comes and goes before. Absent where the front-end itself brought the state.
   */
  readonly bases?: readonly number[];
}

const FORGOTTEN = 'the device was reset meanwhile';

export class DeviceAtRest {
  readonly #device: VirtioDevice;
  readonly #events: DeviceAtRestEvents;
  #busy: Promise<void> | undefined;
  #awaited: ExpectedDriver | undefined;

  constructor(device: VirtioDevice, events: DeviceAtRestEvents) {
    this.#device = device;
    this.#events = events;
  }

  /** Until it resolves no ring may start. It does not reject. */
  get busy(): Promise<void> | undefined {
    return this.#busy;
  }

  /** True once the device was given a state, until a driver begins. */
  get awaitsDriver(): boolean {
    return this.#awaited !== undefined;
  }

  /** Whether a driver with these features may begin with a ring at this base: false where the state is another one's. */
  isFor(features: bigint | undefined, { index, base }: { index: number; base: number }): boolean {
    if (this.#awaited === undefined) return true;
    const { features: agreed, bases } = this.#awaited;
    return agreed === features && (bases === undefined || bases[index] === base);
  }

  /** A driver begins. */
  begin(): void {
    this.#awaited = undefined;
  }

  /** As at power-on, after a driver. `finish` is called then, before `ready`. A promise where it takes time. */
  reset(finish: () => void): void | Promise<void> {
    this.#awaited = undefined;
    const work = this.#resetDevice();
    if (work === undefined) return finish();
    return this.#occupy(work.then(finish));
  }

  /** The front-end that brought a state has left it, or begins anew. What came from a file is not its to drop. */
  forget(): void | Promise<void> {
    return this.#awaited?.bases === undefined ? this.drop() : this.#busy;
  }

  /** As at power-on, where no driver was. */
  drop(): void | Promise<void> {
    // One that is being restored is reset once that is over.
    const isBusy = this.#busy !== undefined;
    const hasState = this.#awaited !== undefined;
    this.#awaited = undefined;
    return hasState && !isBusy ? this.reset(() => undefined) : this.#busy;
  }

  /**
   * Makes it go on where another one was, once the driver begins that is expected. The bytes come from outside: answers why the
   * device refuses them, and it is as at power-on then. A reset that is under way ends first.
   */
  async restore(expected: ExpectedDriver, bytes: Uint8Array): Promise<string | undefined> {
    void this.drop();
    this.#awaited = expected;
    const work = this.#take(bytes, this.#busy);
    await this.#occupy(work.then(() => undefined));
    return work;
  }

  async #take(bytes: Uint8Array, before: Promise<void> | undefined): Promise<string | undefined> {
    await before;
    if (!this.awaitsDriver) return FORGOTTEN;
    const problem = await giveDeviceState(this.#device, bytes).catch(describeError);
    if (problem === undefined && this.awaitsDriver) return undefined;
    this.#awaited = undefined;
    await this.#resetDevice();
    return problem ?? FORGOTTEN;
  }

  #occupy(work: Promise<void>): Promise<void> {
    const busy = work.then(() => {
      // Something else may have come behind it.
      if (this.#busy !== busy) return;
      this.#busy = undefined;
      this.#events.ready();
    });
    return (this.#busy = busy);
  }

  #resetDevice(): Promise<void> | undefined {
    try {
      const work = this.#device.reset();
      return work instanceof Promise ? work.catch((error: unknown) => this.#resetFailed(error)) : undefined;
    } catch (error) {
      this.#resetFailed(error);
      return undefined;
    }
  }

  #resetFailed(error: unknown): void {
    this.#events.log(`the device failed to reset: ${describeError(error)}`);
  }
}
