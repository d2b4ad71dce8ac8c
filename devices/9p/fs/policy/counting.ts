/** Counts what guests add to a file system: names, and blocks of content. */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import type { FileAccount } from '../file-account.js';
import { Attributes, FileMode, type FsNode, type MaybePromise, type OpenFile } from '../file-system.js';
import type { PolicyContext } from './policy-context.js';

export type Making<T> = () => MaybePromise<T | Failure>;

/**
 * Makes the name of a file of S_IFMT `type` by `make`, within the quota: -ENOSPC where there is no room, but -EEXIST where
 * the name is taken, which comes first.
 */
export async function counted<T>(
  { quota, limitsFiles }: PolicyContext,
  type: number,
  exists: () => Promise<boolean>,
  make: Making<T>,
): Promise<T | Failure> {
  if (!limitsFiles) return make();
  const refused = quota.takeName(type);
  if (refused < 0) return (await exists()) ? -Errno.EEXIST : refused;
  const answer = await make();
  if (isFailure(answer)) quota.giveName(type);
  return answer;
}

/** The account of a regular file, held for the caller; undefined of anything else. */
export async function accountOf(
  { quota }: PolicyContext,
  file: FsNode | OpenFile,
): Promise<FileAccount | undefined | Failure> {
  const attributes = new Attributes();
  const error = await file.getattr(attributes);
  if (error < 0) return error;
  if ((attributes.mode & FileMode.S_IFMT) !== FileMode.S_IFREG) return undefined;
  return quota.hold(`${attributes.device}:${attributes.inodeHigh}:${attributes.inodeLow}`);
}

export async function sizeOf(file: FsNode | OpenFile): Promise<number> {
  const attributes = new Attributes();
  const error = await file.getattr(attributes);
  return error < 0 ? error : attributes.sizeBytes;
}

/**
 * Runs `work`, which takes the name of `node` away, and gives back what it had: at once, or once its last holder lets go of it. The
 * file's account is held meanwhile, so that writes under way cannot come in between.
 */
export async function losing(
  context: PolicyContext,
  node: FsNode,
  work: () => MaybePromise<number>,
): Promise<number> {
  const attributes = new Attributes();
  const account = await accountOf(context, node);
  const error = isFailure(account) ? account : await node.getattr(attributes);
  const answer = error < 0 ? error : await work();
  if (answer === 0) {
    const type = attributes.mode & FileMode.S_IFMT;
    const isLast = type === FileMode.S_IFDIR || attributes.nlink <= 1;
    if (isLast && account !== undefined && !isFailure(account)) account.loseName(attributes.sizeBytes);
    else context.quota.giveName(type);
  }
  if (account !== undefined && !isFailure(account)) account.release();
  return answer;
}
