/** One capture of a card, from its start to whatever ends it. */
import { Capture, type CaptureCounters, type CaptureEnd } from '../../devices/net/capture/capture.js';
import type { CapturedBackend } from '../../devices/net/capture/captured-backend.js';
import type { CaptureRequest, Captured } from '../control/api.js';
import { CaptureFile } from './capture-file.js';

export class CardCapture {
  /** Resolves when it has ended, with what is in the file then. */
  readonly ended: Promise<Captured>;
  private readonly file: CaptureFile;
  private readonly capture: Capture;
  private readonly timer: NodeJS.Timeout;
  private settle: (captured: Captured) => void = () => undefined;
  private open = true;

  /** Starts it. @throws ChassisError SOURCE_UNREADABLE where the file cannot be made */
  constructor(card: string, backend: CapturedBackend, { path, maxBytes, forMs, asOnWire }: CaptureRequest) {
    this.file = new CaptureFile(path);
    this.ended = new Promise((resolve) => (this.settle = resolve));
    this.timer = setTimeout(() => this.end('ended'), forMs);
    this.capture = new Capture({
      ...{ name: card, maxBytes, asOnWire, write: (bytes: Uint8Array) => this.file.write(bytes) },
      onEnd: (reason, counters) => {
        this.finish(reason, counters);
        backend.capture = undefined;
      },
    });
    // A full disk has ended it already.
    if (this.open) backend.capture = this.capture;
  }

  get isOpen(): boolean {
    return this.open;
  }

  end(reason: CaptureEnd): void {
    this.capture.end(reason);
  }

  private finish(reason: CaptureEnd, { frames, bytes }: CaptureCounters): void {
    this.open = false;
    clearTimeout(this.timer);
    this.file.close();
    this.settle({ frames, bytes, reason });
  }
}
