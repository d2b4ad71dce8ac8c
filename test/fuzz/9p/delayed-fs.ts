/** A file system whose operations begin when a case says so: at once, a little later, or when they are let go, in any order. */
import type { IoVector } from '../../../devices/io-vector.js';
import type { FsNode } from '../../../devices/9p/fs/file-system.js';
import {
  type AttributeChanges,
  type Attributes,
  type ByteString,
  type Created,
  type DirectorySink,
  type FileSystem,
  mapAnswer,
  type MaybePromise,
  type OpenFile,
  type Owner,
} from '../../../devices/9p/fs/file-system.js';
import { ForwardingFile, ForwardingNode } from '../../../devices/9p/fs/identity/forwarding.js';
import { isFailure, type Failure } from '../../../devices/errno.js';
import type { Random } from '../../support/random.js';

/** When operations begin. */
export class Delays {
  readonly #random: Random;
  readonly #held: (() => void)[] = [];
  /** False: everything begins at once. */
  isOn = false;

  constructor(random: Random) {
    this.#random = random;
  }

  get held(): number {
    return this.#held.length;
  }

  /** Lets one that is held go. */
  release(which: number): void {
    if (this.#held.length > 0) this.#held.splice(which % this.#held.length, 1)[0]();
  }

  run<T>(begin: () => MaybePromise<T>): MaybePromise<T> {
    const choice = this.isOn ? this.#random(8) : 0;
    if (choice < 3) return begin();
    if (choice < 5) return Promise.resolve().then(begin);
    return new Promise<void>((resolve) => this.#held.push(resolve)).then(begin);
  }
}

export class DelayedFs implements FileSystem {
  readonly #inner: FileSystem;
  readonly #delays: Delays;

  /** Does not take over `inner`. */
  constructor(inner: FileSystem, delays: Delays) {
    this.#inner = inner;
    this.#delays = delays;
  }

  attach(): MaybePromise<FsNode | Failure> {
    const root = this.#delays.run(() => this.#inner.attach());
    return mapAnswer(root, (inner) => (isFailure(inner) ? inner : new DelayedNode(inner, this.#delays)));
  }

  close(): void {}
}

class DelayedNode extends ForwardingNode {
  readonly #delays: Delays;

  constructor(inner: FsNode, delays: Delays) {
    super(inner);
    this.#delays = delays;
  }

  protected override wrap(inner: FsNode): DelayedNode {
    return new DelayedNode(inner, this.#delays);
  }
  protected override isSibling(node: FsNode): node is DelayedNode {
    return node instanceof DelayedNode;
  }

  #file(file: OpenFile): DelayedFile {
    return new DelayedFile(file, this.#delays);
  }
  #made(begin: () => MaybePromise<FsNode | Failure>): MaybePromise<FsNode | Failure> {
    return mapAnswer(this.#delays.run(begin), (node) => this.wrapped(node));
  }

  override getattr(out: Attributes): MaybePromise<number> {
    return this.#delays.run(() => super.getattr(out));
  }
  override setattr(changes: AttributeChanges): MaybePromise<number> {
    return this.#delays.run(() => this.inner.setattr(changes));
  }
  override walk(name: ByteString, out?: Attributes): MaybePromise<FsNode | Failure> {
    return this.#delays.run(() => super.walk(name, out));
  }
  override parent(): MaybePromise<FsNode | Failure> {
    return this.#delays.run(() => super.parent());
  }
  override open(flags: number, out?: Attributes): MaybePromise<OpenFile | Failure> {
    const answer = this.#delays.run(() => this.inner.open(flags, out));
    return mapAnswer(answer, (file) => (isFailure(file) ? file : this.#file(file)));
  }
  override create(
    name: ByteString,
    flags: number,
    mode: number,
    owner: Owner,
    out?: Attributes,
  ): MaybePromise<Created | Failure> {
    const answer = this.#delays.run(() => this.inner.create(name, flags, mode, owner, out));
    return mapAnswer(answer, (made) =>
      isFailure(made) ? made : { node: this.wrap(made.node), file: this.#file(made.file) },
    );
  }
  override mkdir(
    name: ByteString,
    mode: number,
    owner: Owner,
    out?: Attributes,
  ): MaybePromise<FsNode | Failure> {
    return this.#made(() => this.inner.mkdir(name, mode, owner, out));
  }
  override symlink(
    name: ByteString,
    target: ByteString,
    owner: Owner,
    out?: Attributes,
  ): MaybePromise<FsNode | Failure> {
    return this.#made(() => this.inner.symlink(name, target, owner, out));
  }
  override readlink(): MaybePromise<ByteString | Failure> {
    return this.#delays.run(() => super.readlink());
  }
  override unlink(name: ByteString, isDirectory: boolean): MaybePromise<number> {
    return this.#delays.run(() => super.unlink(name, isDirectory));
  }
  override rename(name: ByteString, newDirectory: FsNode, newName: ByteString): MaybePromise<number> {
    return this.#delays.run(() => super.rename(name, newDirectory, newName));
  }
  override remove(): MaybePromise<number> {
    return this.#delays.run(() => super.remove());
  }
  override renameTo(newDirectory: FsNode, newName: ByteString): MaybePromise<number> {
    return this.#delays.run(() => super.renameTo(newDirectory, newName));
  }
}

class DelayedFile extends ForwardingFile {
  readonly #delays: Delays;

  constructor(inner: OpenFile, delays: Delays) {
    super(inner);
    this.#delays = delays;
  }

  override read(offset: number, into: IoVector): MaybePromise<number> {
    return this.#delays.run(() => super.read(offset, into));
  }
  override write(offset: number, from: IoVector): MaybePromise<number> {
    return this.#delays.run(() => super.write(offset, from));
  }
  override readdir(cookie: number, sink: DirectorySink): MaybePromise<number> {
    return this.#delays.run(() => super.readdir(cookie, sink));
  }
  override getattr(out: Attributes): MaybePromise<number> {
    return this.#delays.run(() => super.getattr(out));
  }
  override setattr(changes: AttributeChanges): MaybePromise<number> {
    return this.#delays.run(() => super.setattr(changes));
  }
  override close(): MaybePromise<void> {
    return this.#delays.run(() => super.close());
  }
}
