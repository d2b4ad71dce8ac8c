/** A 9P2000.L client: every request of the protocol as an async method, many in flight at once, over any transport. */
import { GuestError } from '../errors.js';
import * as codec from './codec.js';
import { GETATTR_BASIC, IO_HEADER_BYTES, MIN_MSIZE, NOFID, VERSION_9P2000_L } from './constants.js';
import { toBytes, type Bytes, type MessageWriter } from './cursor.js';
import { IdPool } from './id-pool.js';
import type {
  AttributeChanges,
  Attributes,
  FileSystemStatistics,
  Lock,
  Opened,
  Qid,
  RawDirectoryEntry,
} from './messages.js';
import { Rpc9p, SMALL_REPLY_BYTES, type Call } from './rpc.js';
import type { Transport9p } from './transport.js';

/** A link's target is PATH_MAX at most. */
const MAX_LINK_BYTES = 4096;
const MAX_STRING_BYTES = 0xffff;

const utf8 = new TextDecoder();
const nothing = () => undefined;

export interface AttachOptions {
  /** User name, for servers that look at it; default 'root'. */
  readonly uname?: Bytes;
  /** Which of the server's trees; default ''. */
  readonly aname?: Bytes;
  /** Numeric user; default 0. */
  readonly uid?: number;
  /** A fid of `auth`; none by default. */
  readonly afid?: number;
}

/**
 * Methods send one request each and resolve with what the reply says. They reject with a GuestError that carries the server's
 * errno (`syscall` is the message's name), EIO where the reply is not what the protocol says, or the transport's own. With a
 * `signal` that aborts, the request is flushed (Tflush) and the method rejects with the signal's reason, unless the server had
 * done it already.
 *
 * Fids come from `takeFid`. `clunk` and `remove` give them back; one that a failed request did not establish goes back by
 * `giveFid`.
 */
export class Client9p {
  readonly #rpc: Rpc9p;
  readonly #fids = new IdPool(NOFID);
  readonly #maxMessageBytes: number;

  constructor(transport: Transport9p) {
    this.#maxMessageBytes = transport.maxMessageBytes;
    this.#rpc = new Rpc9p(transport);
  }

  /** The largest message that both sides agreed on. */
  get msize(): number {
    return this.#rpc.msize;
  }

  /** File data in one Tread, Twrite or Treaddir at most. */
  get maxDataBytes(): number {
    return this.#rpc.msize - IO_HEADER_BYTES;
  }

  /** Fids that are out. */
  get fidCount(): number {
    return this.#fids.taken;
  }

  takeFid(): number {
    const fid = this.#fids.take();
    if (fid === undefined) throw new GuestError('EMFILE', { syscall: 'walk', detail: 'every fid is in use' });
    return fid;
  }

  giveFid(fid: number): void {
    this.#fids.give(fid);
  }

  /** Starts a session: `msize` is what this side can do at most. All earlier fids are void. */
  async version(msize: number): Promise<number> {
    const wanted = Math.min(msize, this.#maxMessageBytes);
    this.#rpc.msize = this.#maxMessageBytes;
    const reply = await this.#rpc.call({
      type: 'Tversion',
      encode: (w) => codec.encodeTversion(w, wanted, VERSION_9P2000_L),
      decode: codec.decodeRversion,
    });
    if (utf8.decode(reply.version) !== VERSION_9P2000_L || reply.msize < MIN_MSIZE || reply.msize > wanted) {
      const detail = `the server speaks '${utf8.decode(reply.version)}' with msize ${reply.msize}`;
      throw new GuestError('EREMOTEIO', { syscall: 'version', detail });
    }
    this.#rpc.msize = reply.msize;
    return reply.msize;
  }

  auth(afid: number, { uname = 'root', aname = '', uid = 0 }: AttachOptions = {}): Promise<Qid> {
    const encode = (w: MessageWriter) => codec.encodeTauth(w, afid, uname, aname, uid);
    return this.#named('Tauth', [uname, aname], encode, codec.decodeQid, undefined);
  }

  attach(fid: number, options: AttachOptions = {}): Promise<Qid> {
    const { uname = 'root', aname = '', uid = 0, afid = NOFID } = options;
    const encode = (w: MessageWriter) => codec.encodeTattach(w, fid, afid, uname, aname, uid);
    return this.#named('Tattach', [uname, aname], encode, codec.decodeQid, undefined);
  }

  /** Up to 16 names. Fewer qids than names mean that `newFid` was not established; none at all is an error. */
  walk(fid: number, newFid: number, names: readonly Bytes[], signal?: AbortSignal): Promise<Qid[]> {
    const encoded = names.map(toBytes);
    return this.#rpc.call({
      type: 'Twalk',
      variableBytes: stringBytes(...encoded),
      signal,
      encode: (w) => codec.encodeTwalk(w, fid, newFid, encoded),
      decode: (r) => {
        const qids = codec.decodeRwalk(r);
        if (qids.length > names.length || (qids.length === 0 && names.length > 0)) r.fail();
        return qids;
      },
    });
  }

  lopen(fid: number, flags: number, signal?: AbortSignal): Promise<Opened> {
    return this.#rpc.call({
      type: 'Tlopen',
      signal,
      encode: (w) => {
        w.u32(fid);
        w.u32(flags);
      },
      decode: codec.decodeRlopen,
    });
  }

  /** Makes a file in directory `fid`, which then stands for the open file. */
  lcreate(
    fid: number,
    name: Bytes,
    flags: number,
    mode: number,
    gid: number,
    signal?: AbortSignal,
  ): Promise<Opened> {
    const encode = (w: MessageWriter) => codec.encodeTlcreate(w, fid, name, flags, mode, gid);
    return this.#named('Tlcreate', [name], encode, codec.decodeRlopen, signal);
  }

  /**
   * Reads at `offset` into `target`, `maxDataBytes` at most; resolves with the number of bytes, 0 at the end of the file. On a fid
   * of `xattrwalk` it reads the attribute.
   */
  read(fid: number, offset: number, target: Uint8Array, signal?: AbortSignal): Promise<number> {
    const count = Math.min(target.byteLength, this.maxDataBytes);
    return this.#rpc.call({
      type: 'Tread',
      replyBytes: IO_HEADER_BYTES + count,
      signal,
      encode: (w) => codec.encodeTread(w, fid, offset, count),
      decode: (r) => {
        const got = r.u32();
        if (got > count) r.fail();
        else target.set(r.data(got));
        return got;
      },
    });
  }

  /** Writes the first bytes of `data`, `maxDataBytes` at most; resolves with how many the server took. */
  write(fid: number, offset: number, data: Uint8Array, signal?: AbortSignal): Promise<number> {
    const count = Math.min(data.byteLength, this.maxDataBytes);
    return this.#rpc.call({
      type: 'Twrite',
      variableBytes: count,
      signal,
      encode: (w) => codec.encodeTwrite(w, fid, offset, data.subarray(0, count)),
      decode: (r) => {
        const written = r.u32();
        if (written > count) r.fail();
        return written;
      },
    });
  }

  /** Entries from the opaque position on (0, 0 is the start), as many as fit `maxDataBytes`; none at the end. */
  readdir(
    fid: number,
    offsetLow: number,
    offsetHigh: number,
    signal?: AbortSignal,
  ): Promise<RawDirectoryEntry[]> {
    const count = this.maxDataBytes;
    return this.#rpc.call({
      type: 'Treaddir',
      replyBytes: IO_HEADER_BYTES + count,
      signal,
      encode: (w) => codec.encodeTreaddir(w, fid, offsetLow, offsetHigh, count),
      decode: codec.decodeRreaddir,
    });
  }

  getattr(fid: number, mask: number = GETATTR_BASIC, signal?: AbortSignal): Promise<Attributes> {
    return this.#rpc.call({
      type: 'Tgetattr',
      signal,
      encode: (w) => codec.encodeTgetattr(w, fid, mask),
      decode: codec.decodeRgetattr,
    });
  }

  setattr(fid: number, changes: AttributeChanges, signal?: AbortSignal): Promise<void> {
    return this.#rpc.call({
      type: 'Tsetattr',
      signal,
      encode: (w) => codec.encodeTsetattr(w, fid, changes),
      decode: nothing,
    });
  }

  statfs(fid: number, signal?: AbortSignal): Promise<FileSystemStatistics> {
    return this.#rpc.call({
      type: 'Tstatfs',
      signal,
      encode: (w) => w.u32(fid),
      decode: codec.decodeRstatfs,
    });
  }

  symlink(fid: number, name: Bytes, target: Bytes, gid: number, signal?: AbortSignal): Promise<Qid> {
    const encode = (w: MessageWriter) => codec.encodeTsymlink(w, fid, name, target, gid);
    return this.#named('Tsymlink', [name, target], encode, codec.decodeQid, signal);
  }

  mknod(
    fid: number,
    name: Bytes,
    node: { readonly mode: number; readonly major: number; readonly minor: number },
    gid: number,
    signal?: AbortSignal,
  ): Promise<Qid> {
    const encode = (w: MessageWriter) => codec.encodeTmknod(w, fid, name, node, gid);
    return this.#named('Tmknod', [name], encode, codec.decodeQid, signal);
  }

  mkdir(fid: number, name: Bytes, mode: number, gid: number, signal?: AbortSignal): Promise<Qid> {
    const encode = (w: MessageWriter) => codec.encodeTmkdir(w, fid, name, mode, gid);
    return this.#named('Tmkdir', [name], encode, codec.decodeQid, signal);
  }

  /** Moves what `fid` stands for into directory `directoryFid`. */
  rename(fid: number, directoryFid: number, name: Bytes, signal?: AbortSignal): Promise<void> {
    const encode = (w: MessageWriter) => codec.encodeFidsAndName(w, fid, directoryFid, name);
    return this.#named('Trename', [name], encode, nothing, signal);
  }

  renameat(
    oldFid: number,
    oldName: Bytes,
    newFid: number,
    newName: Bytes,
    signal?: AbortSignal,
  ): Promise<void> {
    const encode = (w: MessageWriter) => codec.encodeTrenameat(w, oldFid, oldName, newFid, newName);
    return this.#named('Trenameat', [oldName, newName], encode, nothing, signal);
  }

  /** `flags`: AT_REMOVEDIR for directories, 0 for the rest. */
  unlinkat(fid: number, name: Bytes, flags: number, signal?: AbortSignal): Promise<void> {
    const encode = (w: MessageWriter) => codec.encodeTunlinkat(w, fid, name, flags);
    return this.#named('Tunlinkat', [name], encode, nothing, signal);
  }

  /** A hard link `name` in directory `directoryFid` to what `fid` stands for. */
  link(directoryFid: number, fid: number, name: Bytes, signal?: AbortSignal): Promise<void> {
    const encode = (w: MessageWriter) => codec.encodeFidsAndName(w, directoryFid, fid, name);
    return this.#named('Tlink', [name], encode, nothing, signal);
  }

  readlink(fid: number, signal?: AbortSignal): Promise<Uint8Array> {
    return this.#rpc.call({
      type: 'Treadlink',
      replyBytes: SMALL_REPLY_BYTES + MAX_LINK_BYTES,
      signal,
      encode: (w) => w.u32(fid),
      decode: (r) => r.string(),
    });
  }

  /** Makes `newFid` stand for the attribute `name`, or for the list of names if that is ''. Resolves with its size in bytes. */
  xattrwalk(fid: number, newFid: number, name: Bytes, signal?: AbortSignal): Promise<number> {
    return this.#rpc.call({
      type: 'Txattrwalk',
      variableBytes: stringBytes(name),
      signal,
      encode: (w) => codec.encodeFidsAndName(w, fid, newFid, name),
      decode: (r) => r.u64(),
    });
  }

  /** Makes `fid` stand for a new value of attribute `name`: write it, then clunk. */
  xattrcreate(
    fid: number,
    name: Bytes,
    sizeBytes: number,
    flags: number,
    signal?: AbortSignal,
  ): Promise<void> {
    const encode = (w: MessageWriter) => codec.encodeTxattrcreate(w, fid, name, sizeBytes, flags);
    return this.#named('Txattrcreate', [name], encode, nothing, signal);
  }

  fsync(fid: number, dataOnly: boolean, signal?: AbortSignal): Promise<void> {
    return this.#rpc.call({
      type: 'Tfsync',
      signal,
      encode: (w) => {
        w.u32(fid);
        w.u32(dataOnly ? 1 : 0);
      },
      decode: nothing,
    });
  }

  /** Resolves with a LockStatus. */
  lock(fid: number, flags: number, lock: Lock, signal?: AbortSignal): Promise<number> {
    return this.#rpc.call({
      type: 'Tlock',
      variableBytes: stringBytes(lock.clientId),
      signal,
      encode: (w) => codec.encodeTlock(w, fid, flags, lock),
      decode: (r) => r.u8(),
    });
  }

  /** Resolves with the lock that stands in the way, or with type UNLCK. */
  getlock(fid: number, lock: Lock, signal?: AbortSignal): Promise<Lock> {
    return this.#rpc.call({
      type: 'Tgetlock',
      variableBytes: stringBytes(lock.clientId),
      replyBytes: SMALL_REPLY_BYTES + MAX_STRING_BYTES,
      signal,
      encode: (w) => codec.encodeTgetlock(w, fid, lock),
      decode: codec.decodeRgetlock,
    });
  }

  /** The fid is void and given back, whatever the server answers. */
  async clunk(fid: number): Promise<void> {
    try {
      await this.#rpc.call({ type: 'Tclunk', encode: (w) => w.u32(fid), decode: nothing });
    } finally {
      this.giveFid(fid);
    }
  }

  /** Removes what `fid` stands for; the fid is void and given back, whatever the server answers. */
  async remove(fid: number): Promise<void> {
    try {
      await this.#rpc.call({ type: 'Tremove', encode: (w) => w.u32(fid), decode: nothing });
    } finally {
      this.giveFid(fid);
    }
  }

  /** A request with names in it. */
  #named<T>(
    type: Call<T>['type'],
    names: readonly Bytes[],
    encode: Call<T>['encode'],
    decode: Call<T>['decode'],
    signal: AbortSignal | undefined,
  ): Promise<T> {
    return this.#rpc.call({ type, variableBytes: stringBytes(...names), signal, encode, decode });
  }
}

/** Room for strings, with their lengths. */
function stringBytes(...values: readonly Bytes[]): number {
  let bytes = 0;
  // A UTF-16 unit takes three bytes of UTF-8 at most.
  for (const value of values) bytes += 2 + (typeof value === 'string' ? 3 * value.length : value.byteLength);
  return bytes;
}
