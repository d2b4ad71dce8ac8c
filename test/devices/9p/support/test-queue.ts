import { IoVector } from '../../../../devices/io-vector.js';
import type { Chain, Virtqueue } from '../../../../devices/virtio/device.js';
import { Reply } from '../server/support/wire.js';

/** A message, and room for its reply. */
export class TestChain implements Chain {
  readonly readable = new IoVector();
  readonly writable = new IoVector();
  readonly #room = new Uint8Array(8192);

  constructor(message: Uint8Array) {
    this.readable.push(message, 0, message.length, 0);
    this.writable.push(this.#room, 0, this.#room.length, 0);
  }

  reply(writtenBytes: number): Reply {
    return new Reply(this.#room.slice(0, writtenBytes));
  }
}

/** A queue that notes what the device does with it. */
export class TestQueue implements Virtqueue {
  readonly index: number;
  readonly size = 128;
  readonly broken = false;
  readonly events: string[] = [];
  readonly pushed: { chain: TestChain; writtenBytes: number }[] = [];
  #flushed!: () => void;
  nextFlush = new Promise<void>((resolve) => (this.#flushed = resolve));

  constructor(index = 0) {
    this.index = index;
  }

  pop(): undefined {
    return undefined;
  }
  push(chain: TestChain, writtenBytes: number): void {
    this.events.push('push');
    this.pushed.push({ chain, writtenBytes });
  }
  unpop(): void {}

  flush(): void {
    this.events.push('flush');
    this.#flushed();
    this.nextFlush = new Promise<void>((resolve) => (this.#flushed = resolve));
  }
  disableNotifications(): void {}
  enableNotifications(): boolean {
    return false;
  }
}
