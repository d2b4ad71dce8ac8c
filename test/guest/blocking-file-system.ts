import {
  FileMode,
  FsNode,
  OpenFile,
  type Attributes,
  type FileSystem,
} from '../../devices/9p/fs/file-system.js';
import { Errno } from '../../devices/errno.js';
import type { IoVector } from '../../devices/io-vector.js';

/** A file system whose root has one file, `events`: reads wait until they are interrupted, or until `publish`. */
export class BlockingFileSystem implements FileSystem {
  readonly waiting = new Map<IoVector, (result: number) => void>();

  attach(): FsNode {
    return new Node(this, FileMode.S_IFDIR | 0o755);
  }

  close(): void {}

  /** Answers every read that waits with one byte. */
  publish(byte: number): void {
    for (const [into, answer] of this.waiting) {
      this.waiting.delete(into);
      into.scatter(0, Uint8Array.of(byte), 0, 1);
      answer(1);
    }
  }
}

class Node extends FsNode {
  readonly #fs: BlockingFileSystem;
  readonly #mode: number;

  constructor(fs: BlockingFileSystem, mode: number) {
    super();
    this.#fs = fs;
    this.#mode = mode;
  }

  override getattr(out: Attributes): number {
    out.mode = this.#mode;
    out.inodeLow = this.#mode & FileMode.S_IFMT;
    return 0;
  }

  override walk(name: string): FsNode | number {
    return name === 'events' ? new Node(this.#fs, FileMode.S_IFREG | 0o444) : -Errno.ENOENT;
  }

  override open(): OpenFile {
    return new Events(this.#fs, this);
  }

  override retain(): void {}
  override release(): void {}
}

class Events extends OpenFile {
  readonly #fs: BlockingFileSystem;
  readonly #node: Node;

  constructor(fs: BlockingFileSystem, node: Node) {
    super();
    this.#fs = fs;
    this.#node = node;
  }

  override read(_offset: number, into: IoVector): Promise<number> {
    return new Promise((resolve) => this.#fs.waiting.set(into, resolve));
  }

  override interrupt(into: IoVector): void {
    this.#fs.waiting.get(into)?.(-Errno.EINTR);
    this.#fs.waiting.delete(into);
  }

  override getattr(out: Attributes): number {
    return this.#node.getattr(out);
  }

  override close(): void {}
}
