import type { Frame } from '../../../../devices/net/frame.js';
import { Frame as NetFrame, HEAD_BYTES } from '../../../../devices/net/frame.js';
import { NetBackend, type NetPort } from '../../../../devices/net/backends/net-backend.js';

/** What a test says is left to do to a frame. */
export type Work = Partial<
  Pick<Frame, 'needsChecksum' | 'checksumValid' | 'csumStart' | 'csumOffset' | 'gsoType' | 'gsoSize' | 'ecn'>
>;

/** A frame over bytes, cut after each of `cuts`, none of which lies in its head. */
export function frameOf(bytes: Uint8Array, work: Work = {}, cuts: readonly number[] = []): Frame {
  const frame = new NetFrame();
  let at = 0;
  for (const cut of [...cuts, bytes.length]) {
    if (cut < HEAD_BYTES && cut < bytes.length) throw new RangeError('a cut in the head');
    frame.data.push(bytes, at, cut - at, 0);
    at = cut;
  }
  return Object.assign(frame, work);
}

export function bytesOf(frame: Frame): Uint8Array {
  const bytes = new Uint8Array(frame.byteLength);
  frame.data.gather(0, bytes, 0, bytes.length);
  return bytes;
}

/** A frame as it was, to be kept. */
export interface SeenFrame {
  readonly bytes: Uint8Array;
  readonly work: Required<Work>;
}

export function seen(frame: Frame): SeenFrame {
  const { needsChecksum, checksumValid, csumStart, csumOffset, gsoType, gsoSize, ecn } = frame;
  const work = { needsChecksum, checksumValid, csumStart, csumOffset, gsoType, gsoSize, ecn };
  return { bytes: bytesOf(frame), work };
}

/** A card that notes what it gets, and takes as much as it is told to. */
export class TestPort implements NetPort {
  readonly frames: SeenFrame[] = [];
  readonly calls: string[] = [];
  /** Frames that it has room for. */
  room = Infinity;

  offer(frame: Frame): boolean {
    if (this.frames.length >= this.room) return false;
    this.frames.push(seen(frame));
    return true;
  }

  deliver(frame: Frame): void {
    this.offer(frame);
  }

  sendable(): void {
    this.calls.push('sendable');
  }

  linkChanged(): void {
    this.calls.push('linkChanged');
  }

  take(): Uint8Array[] {
    return this.frames.splice(0).map(({ bytes }) => bytes);
  }
}

/** A backend that notes what it is asked for. */
export class TestBackend extends NetBackend {
  readonly sent: SeenFrame[] = [];
  readonly calls: string[] = [];
  linkUp = true;
  /** Frames that it has room for. */
  room = Infinity;

  send(frame: Frame): boolean {
    if (this.sent.length >= this.room) return false;
    this.sent.push(seen(frame));
    return true;
  }

  override roomForMore(): void {
    this.calls.push('roomForMore');
  }

  override acceptsChanged(offloads: number): void {
    this.calls.push(`accepts ${offloads}`);
  }

  close(): void {
    this.calls.push('close');
  }
}
