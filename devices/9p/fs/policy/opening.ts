/** Opening a file under a policy: it takes a place among the open files, and where content is counted, its account is held meanwhile. */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import type { FileAccount } from '../file-account.js';
import { OpenFlag, type Attributes, type OpenFile } from '../file-system.js';
import { accountOf, sizeOf } from './counting.js';
import { PolicyFile } from './policy-file.js';
import type { PolicyNode } from './policy-node.js';

/** Held for as long as the file is open: what it has is given back when it is closed, and not when it is removed. The place is taken. */
export async function openHeld(
  node: PolicyNode,
  flags: number,
  out: Attributes | undefined,
): Promise<OpenFile | Failure> {
  const account = await accountOf(node.context, node.inner);
  const held = isFailure(account) ? undefined : account;
  return opened(node, await openCounted(node, flags, out, held), flags, held);
}

/** Takes over `file` and `held`, or gives the place back. */
export function opened(
  node: PolicyNode,
  file: OpenFile | Failure,
  flags: number,
  held: FileAccount | undefined,
): OpenFile | Failure {
  if (!isFailure(file)) return new PolicyFile(node, file, flags, held);
  held?.release();
  node.context.openFiles--;
  return file;
}

/** A file that was open elsewhere. Without a name it has its part of the quota until it is closed, and that is counted already. */
export async function reopened(
  node: PolicyNode,
  file: OpenFile | Failure,
  flags: number,
): Promise<OpenFile | Failure> {
  const account = node.context.limitsBytes ? await accountOf(node.context, node.inner) : undefined;
  const held = isFailure(account) ? undefined : account;
  if (held !== undefined && node.detached) {
    const sizeBytes = await sizeOf(node.inner);
    if (!isFailure(sizeBytes)) held.resumeNameless(sizeBytes);
  }
  return opened(node, file, flags, held);
}

async function openCounted(
  { inner }: PolicyNode,
  flags: number,
  out: Attributes | undefined,
  account: FileAccount | undefined,
): Promise<OpenFile | Failure> {
  if (account === undefined || (flags & OpenFlag.O_TRUNC) === 0) return inner.open(flags, out);
  let file: OpenFile | Failure = -Errno.EIO;
  const error = await account.resize(
    0,
    () => sizeOf(inner),
    async () => {
      file = await inner.open(flags, out);
      return isFailure(file) ? file : 0;
    },
  );
  return error < 0 ? error : file;
}
