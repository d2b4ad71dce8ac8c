/** What a fid is of whose file cannot be found again: every use of it is answered with ESTALE, until the client gives it up. */
import { Errno, type Failure } from '../../errno.js';
import { FsNode, OpenFile, type ByteString } from '../fs/file-system.js';

const STALE = -Errno.ESTALE;

export class StaleNode extends FsNode {
  readonly #lastNames: readonly ByteString[];

  /** The names that its file had last, as far as they are known. */
  constructor(lastNames: readonly ByteString[] = []) {
    super();
    this.#lastNames = lastNames;
  }

  override lastNames(): readonly ByteString[] {
    return this.#lastNames;
  }
  override keep(): Failure {
    return STALE;
  }
  getattr(): number {
    return STALE;
  }
  override walk(): Failure {
    return STALE;
  }
  override parent(): Failure {
    return STALE;
  }
  override setattr(): number {
    return STALE;
  }
  override open(): Failure {
    return STALE;
  }
  override create(): Failure {
    return STALE;
  }
  override mkdir(): Failure {
    return STALE;
  }
  override symlink(): Failure {
    return STALE;
  }
  override mknod(): Failure {
    return STALE;
  }
  override link(): number {
    return STALE;
  }
  override readlink(): Failure {
    return STALE;
  }
  override unlink(): number {
    return STALE;
  }
  override rename(): number {
    return STALE;
  }
  override remove(): number {
    return STALE;
  }
  override renameTo(): number {
    return STALE;
  }
  override statfs(): number {
    return STALE;
  }
  override getxattr(): Failure {
    return STALE;
  }
  override listxattr(): Failure {
    return STALE;
  }
  override setxattr(): number {
    return STALE;
  }
  override removexattr(): number {
    return STALE;
  }
  override retain(): void {
    // Nothing is held.
  }
  override release(): void {
    // Nothing is held.
  }
}

export class StaleFile extends OpenFile {
  override read(): number {
    return STALE;
  }
  override write(): number {
    return STALE;
  }
  override readdir(): number {
    return STALE;
  }
  getattr(): number {
    return STALE;
  }
  override setattr(): number {
    return STALE;
  }
  override fsync(): number {
    return STALE;
  }
  override lock(): number {
    return STALE;
  }
  override getlock(): number {
    return STALE;
  }
  close(): void {
    // Nothing is open.
  }
}
