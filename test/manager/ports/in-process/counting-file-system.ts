import { Errno, FsNode, OpenFile, type FileSystem } from '../../../../manager/index.js';

/** An empty directory, which counts what is taken of it and given back, and whose listing can be held up. */
export class CountingFileSystem implements FileSystem {
  attached = 0;
  closed = 0;
  /** Listings wait for it. */
  gateway: Promise<void> | undefined;
  /** Nodes and open files that were given out and not given back. */
  live = 0;

  attach(): FsNode {
    this.attached++;
    this.live++;
    return new EmptyDirectory(this);
  }

  close(): void {
    this.closed++;
  }

  /** From now on listings wait until the gate is opened. */
  gate(): { open(): void } {
    let open!: () => void;
    this.gateway = new Promise<void>((resolve) => (open = resolve));
    return {
      open: () => {
        this.gateway = undefined;
        open();
      },
    };
  }
}

class EmptyDirectory extends FsNode {
  readonly #fs: CountingFileSystem;

  constructor(fs: CountingFileSystem) {
    super();
    this.#fs = fs;
  }

  override getattr(out: { mode: number }): number {
    out.mode = 0o040755;
    return 0;
  }

  override walk(): number {
    return -Errno.ENOENT;
  }

  override open(): OpenFile {
    this.#fs.live++;
    return new EmptyListing(this.#fs);
  }

  override retain(): void {
    this.#fs.live++;
  }

  override release(): void {
    this.#fs.live--;
  }
}

class EmptyListing extends OpenFile {
  readonly #fs: CountingFileSystem;

  constructor(fs: CountingFileSystem) {
    super();
    this.#fs = fs;
  }

  override getattr(): number {
    return 0;
  }

  override async readdir(): Promise<number> {
    await this.#fs.gateway;
    return 0;
  }

  override close(): void {
    this.#fs.live--;
  }
}
