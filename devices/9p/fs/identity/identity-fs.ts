/**
 * A file system whose users and groups are others for the guest: all squashed to one, or mapped by ranges. Which of the guest's users
 * may do what is for the guest's kernel to say, which knows their groups; 9P does not carry them.
 *
 * Set-id bits go as on the file system below: with a change of owner, a write, or a cut.
 */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import type { GivenDescriptors, StateDestination } from '../../../state-descriptors.js';
import {
  mapAnswer,
  SetAttr,
  type AttributeChanges,
  type Attributes,
  type ByteString,
  type Created,
  type FileSystem,
  type FsNode,
  type MaybePromise,
  type OpenFile,
  type Owner,
} from '../file-system.js';
import { restoreStateOf, stateOf, type Given } from '../kept.js';
import { isAcl, translateAcl } from './acl.js';
import { ForwardingFile, ForwardingNode } from './forwarding.js';
import { MappedIds, SquashedIds, UNCHANGED, type IdRange, type Translation } from './ids.js';
import { joinNames, namesIn } from '../xattr-names.js';

export { IdentityError, OVERFLOW_ID, type IdRange } from './ids.js';

/**
 * `squash`: the guest sees `guest` as the owner of everything, and what it makes is `host`'s; giving files to others is EPERM.
 * `uids` and `gids`: ranges of ids that stand for each other. Other owners are seen as 65534; giving them files is EINVAL, and
 * they can make none: EOVERFLOW.
 */
export type Identity =
  | { readonly squash: { readonly guest: Owner; readonly host: Owner } }
  | { readonly uids: readonly IdRange[]; readonly gids: readonly IdRange[] };

export class IdentityFs implements FileSystem {
  readonly #inner: FileSystem;
  readonly #ids: Translation;

  /**
   * Takes over `inner`, and closes it when it is closed.
   * @throws IdentityError
   */
  constructor(inner: FileSystem, identity: Identity) {
    this.#inner = inner;
    this.#ids =
      'squash' in identity
        ? new SquashedIds(identity.squash.guest, identity.squash.host)
        : new MappedIds(identity.uids, identity.gids);
  }

  attach(): MaybePromise<FsNode | Failure> {
    return mapAnswer(this.#inner.attach(), (root) =>
      isFailure(root) ? root : new IdentityNode(root, this.#ids),
    );
  }

  saveState(to: StateDestination): Uint8Array | string {
    return stateOf(this.#inner, to);
  }

  restoreState(bytes: Uint8Array, descriptors?: GivenDescriptors): MaybePromise<string | undefined> {
    return restoreStateOf(this.#inner, bytes, descriptors);
  }

  close(): MaybePromise<void> {
    return this.#inner.close();
  }
}

function toGuest(ids: Translation, answer: number, out: Attributes): number {
  if (answer < 0) return answer;
  out.uid = ids.uidToGuest(out.uid);
  out.gid = ids.gidToGuest(out.gid);
  return answer;
}

/** The host's changes for the guest's, or why not. */
function toHost(ids: Translation, changes: AttributeChanges): AttributeChanges | Failure {
  const { P9_ATTR_CTIME, P9_ATTR_GID, P9_ATTR_UID } = SetAttr;
  let { valid } = changes;
  const uid = (valid & P9_ATTR_UID) === 0 ? UNCHANGED : ids.changedUid(changes.uid);
  const gid = (valid & P9_ATTR_GID) === 0 ? UNCHANGED : ids.changedGid(changes.gid);
  if (uid < 0 || gid < 0) return Math.min(uid, gid);
  if (uid === UNCHANGED) valid &= ~P9_ATTR_UID;
  if (gid === UNCHANGED) valid &= ~P9_ATTR_GID;
  // Giving a file to whom it belongs touches its ctime, and no more.
  return { ...changes, uid, gid, valid: valid === 0 && changes.valid !== 0 ? P9_ATTR_CTIME : valid };
}

class IdentityNode extends ForwardingNode {
  readonly #ids: Translation;

  constructor(inner: FsNode, ids: Translation) {
    super(inner);
    this.#ids = ids;
  }

  protected override wrap(inner: FsNode): IdentityNode {
    return new IdentityNode(inner, this.#ids);
  }

  protected override isSibling(node: FsNode): node is IdentityNode {
    return node instanceof IdentityNode && node.#ids === this.#ids;
  }

  override getattr(out: Attributes): MaybePromise<number> {
    return mapAnswer(this.inner.getattr(out), (answer) => toGuest(this.#ids, answer, out));
  }

  override walk(name: ByteString, out?: Attributes): MaybePromise<FsNode | Failure> {
    return mapAnswer(this.inner.walk(name, out), (inner) => this.#found(inner, out));
  }

  override setattr(changes: AttributeChanges): MaybePromise<number> {
    const translated = toHost(this.#ids, changes);
    return isFailure(translated) ? translated : this.inner.setattr(translated);
  }

  override open(flags: number, out?: Attributes): MaybePromise<OpenFile | Failure> {
    return mapAnswer(this.inner.open(flags, out), (file) => {
      if (isFailure(file)) return file;
      this.#translate(out);
      return new IdentityFile(file, this.#ids);
    });
  }

  override reopen(flags: number, given: Given): MaybePromise<OpenFile | Failure> {
    return mapAnswer(this.inner.reopen(flags, given), (file) =>
      isFailure(file) ? file : new IdentityFile(file, this.#ids),
    );
  }

  override create(
    name: ByteString,
    flags: number,
    mode: number,
    owner: Owner,
    out?: Attributes,
  ): MaybePromise<Created | Failure> {
    const host = this.#ids.ownerOfNew(owner);
    if (isFailure(host)) return host;
    return mapAnswer(this.inner.create(name, flags, mode, host, out), (created) => {
      if (isFailure(created)) return created;
      this.#translate(out);
      return { node: this.wrap(created.node), file: new IdentityFile(created.file, this.#ids) };
    });
  }

  override mkdir(
    name: ByteString,
    mode: number,
    owner: Owner,
    out?: Attributes,
  ): MaybePromise<FsNode | Failure> {
    return this.#make(owner, out, (host) => this.inner.mkdir(name, mode, host, out));
  }

  override symlink(
    name: ByteString,
    target: ByteString,
    owner: Owner,
    out?: Attributes,
  ): MaybePromise<FsNode | Failure> {
    return this.#make(owner, out, (host) => this.inner.symlink(name, target, host, out));
  }

  override mknod(
    name: ByteString,
    mode: number,
    rdev: number,
    owner: Owner,
    out?: Attributes,
  ): MaybePromise<FsNode | Failure> {
    return this.#make(owner, out, (host) => this.inner.mknod(name, mode, rdev, host, out));
  }

  override getxattr(name: ByteString): MaybePromise<Uint8Array | Failure> {
    if (!isAcl(name)) return this.inner.getxattr(name);
    if (!this.#ids.hasAcls) return -Errno.EOPNOTSUPP;
    return mapAnswer(this.inner.getxattr(name), (value) =>
      isFailure(value)
        ? value
        : translateAcl(
            value,
            (uid) => this.#ids.uidToGuest(uid),
            (gid) => this.#ids.gidToGuest(gid),
          ),
    );
  }

  override listxattr(): MaybePromise<Uint8Array | Failure> {
    if (this.#ids.hasAcls) return this.inner.listxattr();
    return mapAnswer(this.inner.listxattr(), (list) =>
      isFailure(list) ? list : joinNames(namesIn(list).filter((name) => !isAcl(name))),
    );
  }

  override setxattr(name: ByteString, value: Uint8Array, flags: number): MaybePromise<number> {
    if (!isAcl(name)) return this.inner.setxattr(name, value, flags);
    if (!this.#ids.hasAcls) return -Errno.EOPNOTSUPP;
    const host = translateAcl(
      value,
      (uid) => this.#ids.changedUid(uid),
      (gid) => this.#ids.changedGid(gid),
    );
    return isFailure(host) ? host : this.inner.setxattr(name, host, flags);
  }

  override removexattr(name: ByteString): MaybePromise<number> {
    return isAcl(name) && !this.#ids.hasAcls ? -Errno.EOPNOTSUPP : this.inner.removexattr(name);
  }

  #make(
    owner: Owner,
    out: Attributes | undefined,
    make: (host: Owner) => MaybePromise<FsNode | Failure>,
  ): MaybePromise<FsNode | Failure> {
    const host = this.#ids.ownerOfNew(owner);
    if (isFailure(host)) return host;
    return mapAnswer(make(host), (inner) => this.#found(inner, out));
  }

  #found(inner: FsNode | Failure, out: Attributes | undefined): FsNode | Failure {
    if (isFailure(inner)) return inner;
    this.#translate(out);
    return this.wrap(inner);
  }

  #translate(out: Attributes | undefined): void {
    if (out?.filled === true) toGuest(this.#ids, 0, out);
  }
}

class IdentityFile extends ForwardingFile {
  readonly #ids: Translation;

  constructor(inner: OpenFile, ids: Translation) {
    super(inner);
    this.#ids = ids;
  }

  override getattr(out: Attributes): MaybePromise<number> {
    return mapAnswer(this.inner.getattr(out), (answer) => toGuest(this.#ids, answer, out));
  }

  override setattr(changes: AttributeChanges): MaybePromise<number> {
    const translated = toHost(this.#ids, changes);
    return isFailure(translated) ? translated : this.inner.setattr(translated);
  }
}
