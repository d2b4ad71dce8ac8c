/** Creating a file where the policy has to be asked about its name, or it is counted. */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import {
  FileMode,
  OpenFlag,
  type Attributes,
  type ByteString,
  type Created,
  type Owner,
} from '../file-system.js';
import { accountOf, counted } from './counting.js';
import { PolicyFile } from './policy-file.js';
import { isDirectory } from './looks.js';
import type { PolicyNode } from './policy-node.js';

/** What `FsNode.create` is given. */
export interface Creation {
  readonly name: ByteString;
  readonly flags: number;
  readonly mode: number;
  readonly owner: Owner;
  readonly out: Attributes | undefined;
}

/** Nothing is renamed meanwhile. */
export async function createCounted(directory: PolicyNode, creation: Creation): Promise<Created | Failure> {
  const { context } = directory;
  const { name, flags, mode, owner, out } = creation;
  const refused = directory.mayChangeEntry('create', name);
  if (refused < 0) return refused;
  // So that it is known whether a file is new, and counted.
  const asked = context.limitsFiles ? flags | OpenFlag.O_EXCL : flags;
  const full = context.takeOpenFile();
  if (full < 0) return context.decided('create', directory.pathOf(name), full);
  const created = await counted(context, FileMode.S_IFREG, directory.exists(name), () =>
    directory.inner.create(name, asked, mode, owner, out),
  );
  if (isFailure(created)) context.openFiles--;
  if (created === -Errno.EEXIST && (flags & OpenFlag.O_EXCL) === 0) return openExisting(directory, creation);
  if (isFailure(created)) return created;
  const node = await directory.childFor(name, created.node);
  const account = context.limitsBytes ? await accountOf(context, node.inner) : undefined;
  const held = isFailure(account) ? undefined : account;
  return { node, file: new PolicyFile(node, created.file, flags, held) };
}

async function openExisting(
  directory: PolicyNode,
  { name, flags, out }: Creation,
): Promise<Created | Failure> {
  const node = await directory.look(name);
  if (isFailure(node)) return node;
  const wanted = flags & ~(OpenFlag.O_CREAT | OpenFlag.O_EXCL);
  const file = (await isDirectory(node.inner)) ? -Errno.EISDIR : await node.open(wanted, out);
  if (!isFailure(file)) return { node, file };
  node.release();
  return file;
}
