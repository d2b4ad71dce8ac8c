/**
 * A fid: the client's handle on a node, on an open file, or on the value of an extended attribute. Fids are counted
 * references: the table holds one, and each request under way that uses the fid holds one, so that a Tclunk takes the fid away
 * at once while its node and file live until the last request is done with them.
 */
import { OpenFlag } from '../fs/file-system.js';
import type { ByteString, FsNode, OpenFile } from '../fs/file-system.js';
import { QidType } from '../protocol/constants.js';
import type { Qid } from '../protocol/replies.js';
import type { StatListing } from './stat-listing.js';

/** What one Tattach gave: the user, and the directory above which '..' does not lead. */
export interface Attachment {
  readonly uid: number;
  readonly pathLow: number;
  readonly pathHigh: number;
}

/** An extended attribute's value (or list of names) on its way to or from the client. */
export interface XattrValue {
  readonly kind: 'read' | 'write';
  readonly name: string;
  readonly flags: number;
  readonly value: Uint8Array;
  /** Bytes written so far, from the start and without a gap. */
  writtenBytes: number;
}

export class Fid {
  readonly number: number;
  /** One for the table, one for each request that uses it. */
  holds = 1;
  /** Undefined while the fid is only reserved, and for the value of an extended attribute that is read. */
  node: FsNode | undefined;
  file: OpenFile | undefined;
  xattr: XattrValue | undefined;
  attachment: Attachment | undefined;
  /** The last name that led here; '' for a root, or behind '..'. The node may know a newer one. */
  name: ByteString = '';
  /** OpenFlag bits, once `file` is there. */
  openFlags = 0;
  qidType = 0;
  pathLow = 0;
  pathHigh = 0;
  /** The device that directory entries' inode numbers belong to. */
  device = 0;
  /** A Tlopen, Tlcreate or the like is turning this fid into something else: no second one may start. */
  changing = false;
  /** ORCLOSE: the file goes with the fid. */
  removeOnClunk = false;
  /** Where reading of the directory stands, in a dialect whose directories are read by Tread. */
  listing: StatListing | undefined;
  /** A Treaddir is under way: an open directory has one position, so no second one may start. */
  readingDirectory = false;

  constructor(number: number) {
    this.number = number;
  }

  /** Makes a reserved fid one of `node`; the caller's reference becomes the fid's. */
  establish(node: FsNode, attachment: Attachment): void {
    this.node = node;
    this.attachment = attachment;
  }

  identify(qid: Qid, device: number): void {
    this.qidType = qid.type;
    this.pathLow = qid.pathLow;
    this.pathHigh = qid.pathHigh;
    this.device = device;
  }

  get isDirectory(): boolean {
    return (this.qidType & QidType.P9_QTDIR) !== 0;
  }

  get isAttachRoot(): boolean {
    const root = this.attachment;
    return root !== undefined && root.pathLow === this.pathLow && root.pathHigh === this.pathHigh;
  }

  get mayRead(): boolean {
    return (this.openFlags & OpenFlag.O_ACCMODE) !== OpenFlag.O_WRONLY;
  }

  get mayWrite(): boolean {
    return (this.openFlags & OpenFlag.O_ACCMODE) !== OpenFlag.O_RDONLY;
  }
}

/** A fid as `Session.holdNode` answers it: of a node, open or not. */
export interface NodeFid extends Fid {
  node: FsNode;
  attachment: Attachment;
}

/** A fid as `Session.holdOpen` answers it: of an open file or directory. */
export interface OpenFid extends NodeFid {
  file: OpenFile;
}

/** The fid that an earlier step of the same request held. */
export function held(fid: Fid | undefined): NodeFid {
  if (fid?.node === undefined || fid.attachment === undefined) throw new Error('a step ran without its fid');
  return fid as NodeFid;
}
