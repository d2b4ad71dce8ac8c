/** struct statx: one buffer that every look at a file's attributes fills, and what the code reads from it. */
import { addressOf, AtFlags, fstatx, STATX, statx, STATX_BYTES, StatxMask } from '../../../../host/index.js';
import { FileMode, type Attributes } from '../file-system.js';

/** What Tgetattr can be asked for. */
const ALL_STATS = StatxMask.STATX_BASIC_STATS | StatxMask.STATX_BTIME;
const TWO_32 = 0x1_0000_0000;
const LOOK_FLAGS = AtFlags.AT_SYMLINK_NOFOLLOW | AtFlags.AT_NO_AUTOMOUNT;

/** What makes two answers of the host the same file. The type is part of it, since inode numbers are used again. */
export interface Identity {
  /** S_IFMT bits. */
  readonly type: number;
  readonly device: number;
  readonly inodeLow: number;
  readonly inodeHigh: number;
}

export class StatxBuffer {
  readonly #view = new DataView(new ArrayBuffer(STATX_BYTES));
  readonly #address = addressOf(new Uint8Array(this.#view.buffer));

  /** Looks at the file behind `fd`, O_PATH or not. 0 or a negative errno. */
  load(fd: number, mask: number = ALL_STATS): number {
    return fstatx(fd, 0, mask, this.#address);
  }

  /** Looks at one name of a directory, not through a symbolic link; `name` is the address of a checked name. */
  loadName(dirFd: number, name: number, mask: number = ALL_STATS): number {
    return statx(dirFd, name, LOOK_FLAGS, mask, this.#address);
  }

  /** True where this was filled from that very file. */
  isOf({ type, device, inodeLow, inodeHigh }: Identity): boolean {
    return (
      this.inodeLow === inodeLow &&
      this.inodeHigh === inodeHigh &&
      this.device === device &&
      (this.mode & FileMode.S_IFMT) === type
    );
  }

  get mode(): number {
    return this.#view.getUint16(STATX.mode, true);
  }

  get uid(): number {
    return this.#view.getUint32(STATX.uid, true);
  }

  get gid(): number {
    return this.#view.getUint32(STATX.gid, true);
  }

  get nlink(): number {
    return this.#view.getUint32(STATX.nlink, true);
  }

  get inodeLow(): number {
    return this.#view.getUint32(STATX.ino, true);
  }

  get inodeHigh(): number {
    return this.#view.getUint32(STATX.ino + 4, true);
  }

  get device(): number {
    return this.#device(STATX.devMajor);
  }

  /** A value that is another one once the file's contents or attributes have changed. */
  changeStamp(): string {
    const view = this.#view;
    const time = (at: number): string => `${this.#seconds(at)}.${view.getUint32(at + 8, true)}`;
    return `${time(STATX.ctime)} ${time(STATX.mtime)} ${this.#u64(STATX.size)}`;
  }

  /** When its contents or attributes changed last, in milliseconds since 1970. */
  changedMs(): number {
    return this.#seconds(STATX.ctime) * 1000 + this.#view.getUint32(STATX.ctime + 8, true) / 1e6;
  }

  fill(out: Attributes): void {
    const view = this.#view;
    out.mode = this.mode;
    out.uid = this.uid;
    out.gid = this.gid;
    out.nlink = this.nlink;
    out.rdev = this.#device(STATX.rdevMajor);
    out.sizeBytes = this.#u64(STATX.size);
    out.blockSizeBytes = view.getUint32(STATX.blksize, true);
    out.blocks = this.#u64(STATX.blocks);
    out.atimeSeconds = this.#seconds(STATX.atime);
    out.atimeNanoseconds = view.getUint32(STATX.atime + 8, true);
    out.mtimeSeconds = this.#seconds(STATX.mtime);
    out.mtimeNanoseconds = view.getUint32(STATX.mtime + 8, true);
    out.ctimeSeconds = this.#seconds(STATX.ctime);
    out.ctimeNanoseconds = view.getUint32(STATX.ctime + 8, true);
    out.hasBtime = (view.getUint32(STATX.mask, true) & StatxMask.STATX_BTIME) !== 0;
    out.btimeSeconds = out.hasBtime ? this.#seconds(STATX.btime) : 0;
    out.btimeNanoseconds = out.hasBtime ? view.getUint32(STATX.btime + 8, true) : 0;
    out.inodeLow = this.inodeLow;
    out.inodeHigh = this.inodeHigh;
    out.device = this.device;
  }

  /** Fills attributes beside an answer. */
  report(out: Attributes): void {
    this.fill(out);
    out.filled = true;
  }

  #u64(offset: number): number {
    return this.#view.getUint32(offset, true) + this.#view.getUint32(offset + 4, true) * TWO_32;
  }

  /** Signed: there are files from before 1970. */
  #seconds(offset: number): number {
    return this.#view.getUint32(offset, true) + this.#view.getInt32(offset + 4, true) * TWO_32;
  }

  /** Major and minor joined as glibc's makedev(3) does for Linux's 12 and 20 bits. */
  #device(offset: number): number {
    const major = this.#view.getUint32(offset, true);
    const minor = this.#view.getUint32(offset + 4, true);
    return (minor & 0xff) + (major & 0xfff) * 0x100 + (minor & 0xfff00) * 0x1000;
  }
}
