import type { Frame } from '../frame.js';
import { fileHeader, PacketWriter, type Direction } from './pcapng.js';

export interface CaptureOptions {
  /** What the capture calls the card. */
  readonly name: string;
  /** Takes each part of the file; it belongs to the capture again when the call returns. What it throws ends the capture. */
  readonly write: (bytes: Uint8Array) => void;
  /** The file's largest size in bytes: what would go beyond it is not captured. */
  readonly maxBytes: number;
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
  #bytes = 0;
  #frames = 0;
  #left = 0;
  #open = true;

  constructor(options: CaptureOptions) {
    const { snapLengthBytes = DEFAULT_SNAP_BYTES } = options;
    this.#options = options;
    this.#packets = new PacketWriter(snapLengthBytes);
    this.#now = options.now ?? (() => Date.now() * 1000);
    this.#write(fileHeader(options.name, snapLengthBytes));
  }

  /** Frames that are in the file, those that had no room in it, and its size. */
  get counters(): { readonly frames: number; readonly left: number; readonly bytes: number } {
    return { frames: this.#frames, left: this.#left, bytes: this.#bytes };
  }

  /** A frame went by. It is captured as it is: what is left to do to it is not done. */
  saw(frame: Frame, direction: Direction): void {
    const kept = this.#open && this.#write(this.#packets.packet(frame, direction, this.#now()));
    if (kept) this.#frames++;
    else this.#left++;
  }

  /** Nothing is written any more. */
  end(): void {
    this.#open = false;
  }

  #write(bytes: Uint8Array): boolean {
    if (this.#bytes + bytes.length > this.#options.maxBytes) return false;
    try {
      this.#options.write(bytes);
    } catch {
      this.#open = false;
      return false;
    }
    this.#bytes += bytes.length;
    return true;
  }
}
