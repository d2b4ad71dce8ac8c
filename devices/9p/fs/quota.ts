/**
 * What a guest may fill a file system with: bytes of content and a number of names. Without one a guest takes all of the host's
 * memory, or disk (the class of CVE-2020-10717).
 *
 * Content is counted in whole blocks, as tmpfs does: a file of one byte takes more than that, too. Each name counts as a file,
 * hard links as well, since each costs something; so does a file that has lost its last name and is open still.
 */
import { Errno } from '../../errno.js';
import { FileMode, type FileSystemStatistics } from './file-system.js';
import { FileAccount } from './file-account.js';
import { NAME_MAX_BYTES } from '../protocol/constants.js';

export const QUOTA_BLOCK_BYTES = 4096;
/** `f_type` of tmpfs (linux/magic.h). */
const TMPFS_MAGIC = 0x01021994;

/** Names, and blocks of QUOTA_BLOCK_BYTES. */
export interface QuotaUse {
  readonly files: number;
  readonly blocks: number;
}

export class Quota {
  #maxTotalBytes = 0;
  #maxFiles = 0;
  #maxBlocks = 0;
  #usedBlocks = 0;
  #usedFiles = 0;
  /** Of files that have names and are open or about to be changed, by inode key. */
  readonly #accounts = new Map<string, FileAccount>();

  constructor(maxTotalBytes: number, maxFiles: number) {
    this.setLimits(maxTotalBytes, maxFiles);
  }

  get maxTotalBytes(): number {
    return this.#maxTotalBytes;
  }

  get maxFiles(): number {
    return this.#maxFiles;
  }

  /** What is over a limit by then stays. */
  setLimits(maxTotalBytes: number, maxFiles: number): void {
    this.#maxTotalBytes = maxTotalBytes;
    this.#maxFiles = maxFiles;
    this.#maxBlocks = Math.floor(maxTotalBytes / QUOTA_BLOCK_BYTES);
  }

  /** What is counted. */
  get used(): QuotaUse {
    return { files: this.#usedFiles, blocks: this.#usedBlocks };
  }

  /** Goes on from what another one counted of the same files. */
  resume({ files, blocks }: QuotaUse): void {
    this.#usedFiles = files;
    this.#usedBlocks = blocks;
  }

  get freeBlocks(): number {
    return Math.max(this.#maxBlocks - this.#usedBlocks, 0);
  }

  /** Counts one more name of a file of S_IFMT `type`; -ENOSPC where it would be one too many. */
  takeName(type: number): number {
    if (this.#usedFiles >= this.maxFiles || blocksOfName(type) > this.freeBlocks) return -Errno.ENOSPC;
    this.addName(type);
    return 0;
  }

  /** Counts a name that is there, whatever the limit. */
  addName(type: number): void {
    this.#usedFiles++;
    this.addBlocks(blocksOfName(type));
  }

  giveName(type: number): void {
    // Never below nothing: there are files that nobody counted.
    this.#usedFiles = Math.max(this.#usedFiles - 1, 0);
    this.addBlocks(-blocksOfName(type));
  }

  addBlocks(count: number): void {
    this.#usedBlocks = Math.max(this.#usedBlocks + count, 0);
  }

  /** The account of the file with this inode key, with one more holder, who releases it. */
  hold(key: string): FileAccount {
    let account = this.#accounts.get(key);
    if (account === undefined) {
      account = new FileAccount(this, key);
      this.#accounts.set(key, account);
    }
    account.holders++;
    return account;
  }

  /** The file's inode number may soon be another's. */
  forget(account: FileAccount): void {
    if (this.#accounts.get(account.key) === account) this.#accounts.delete(account.key);
  }

  fill(out: FileSystemStatistics): void {
    out.type = TMPFS_MAGIC;
    out.blockSizeBytes = QUOTA_BLOCK_BYTES;
    out.blocks = this.#maxBlocks;
    out.blocksFree = this.freeBlocks;
    out.blocksAvailable = this.freeBlocks;
    out.files = this.maxFiles;
    out.filesFree = Math.max(this.maxFiles - this.#usedFiles, 0);
    out.idLow = 0;
    out.idHigh = 0;
    out.nameLengthBytes = NAME_MAX_BYTES;
  }

  /** Lowers what a file system says of its room to what this leaves of it. */
  clamp(out: FileSystemStatistics): void {
    const blocks = Math.floor((this.freeBlocks * QUOTA_BLOCK_BYTES) / Math.max(out.blockSizeBytes, 1));
    out.blocksFree = Math.min(out.blocksFree, blocks);
    out.blocksAvailable = Math.min(out.blocksAvailable, blocks);
    out.filesFree = Math.min(out.filesFree, Math.max(this.maxFiles - this.#usedFiles, 0));
  }
}

export function blocksOf(sizeBytes: number): number {
  return Math.ceil(sizeBytes / QUOTA_BLOCK_BYTES);
}

/** A symbolic link's target fits a block. */
function blocksOfName(type: number): number {
  return type === FileMode.S_IFLNK ? 1 : 0;
}
