import type { Frame } from '../frame.js';
import { FrameFinisher } from '../offload/finisher.js';
import { Direction, fileHeader, PacketWriter } from './pcapng.js';

/** Why a capture ended: somebody ended it, its card was removed, there was no room for a frame, or the file could not be written. */
export type CaptureEnd = 'ended' | 'removed' | 'full' | 'unwritable';

export interface CaptureCounters {
  /** Frames that are in the file, those that went by once there was no room for one, and the file's size. */
  readonly frames: number;
  readonly left: number;
  readonly bytes: number;
}

export interface CaptureOptions {
  /** What the capture calls the card. */
  readonly name: string;
  /** Takes each part of the file; it belongs to the capture again when the call returns. What it throws ends the capture. */
  readonly write: (bytes: Uint8Array) => void;
  /** The file's largest size in bytes: the first frame that would go beyond it ends the capture. */
  readonly maxBytes: number;
  /** Called once. */
  readonly onEnd?: (reason: CaptureEnd, counters: CaptureCounters) => void;
  /**
   * Captures frames as a wire would carry them: cut up, and with their checksums. Default: as they are, with what is left to do to them
   * not done.
   */
  readonly asOnWire?: boolean;
  /** Most bytes of a frame that are kept. Default: 65,536, which leaves out nothing but the end of the very longest. */
  readonly snapLengthBytes?: number;
  /** Microseconds since 1970. Default: the clock. */
  readonly now?: () => number;
}

const DEFAULT_SNAP_BYTES = 65536;

/** A capture under way. */
export class Capture {
  readonly #options: CaptureOptions;
  readonly #packets: PacketWriter;
  readonly #now: () => number;
  readonly #finisher: FrameFinisher | undefined;
  readonly #record = (frame: Frame): boolean => {
    const kept = this.#open && this.#write(this.#packets.packet(frame, this.#direction, this.#now()));
    if (kept) this.#frames++;
    else this.#left++;
    return true;
  };
  #direction: Direction = Direction.SENT;
  #bytes = 0;
  #frames = 0;
  #left = 0;
  #open = true;

  constructor(options: CaptureOptions) {
    const { snapLengthBytes = DEFAULT_SNAP_BYTES } = options;
    this.#options = options;
    this.#packets = new PacketWriter(snapLengthBytes);
    this.#now = options.now ?? (() => Date.now() * 1000);
    this.#finisher = options.asOnWire ? new FrameFinisher() : undefined;
    this.#write(fileHeader(options.name, snapLengthBytes));
  }

  get counters(): CaptureCounters {
    return { frames: this.#frames, left: this.#left, bytes: this.#bytes };
  }

  /** A frame went by. */
  saw(frame: Frame, direction: Direction): void {
    this.#direction = direction;
    // What comes after the end is not worth the work.
    if (this.#finisher && this.#open) this.#finisher.hand(frame, 0, this.#record);
    else this.#record(frame);
  }

  /** Nothing is written any more. */
  end(reason: CaptureEnd): void {
    if (!this.#open) return;
    this.#open = false;
    this.#options.onEnd?.(reason, this.counters);
  }

  #write(bytes: Uint8Array): boolean {
    if (this.#bytes + bytes.length > this.#options.maxBytes) {
      this.end('full');
      return false;
    }
    try {
      this.#options.write(bytes);
    } catch {
      this.end('unwritable');
      return false;
    }
    this.#bytes += bytes.length;
    return true;
  }
}
