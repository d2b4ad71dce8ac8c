/**
 * A file of a mount under a policy: asks the policy, each time, and the file system only then. What the policy says of a path is
 * remembered until a rename or another policy may have changed it.
 */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import type { FsNode } from '../file-system.js';
import {
  Attributes,
  FileMode,
  OpenFlag,
  SetAttr,
  type AttributeChanges,
  type ByteString,
  type Created,
  type FileSystemStatistics,
  type MaybePromise,
  type OpenFile,
  type Owner,
} from '../file-system.js';
import type { FileAccount } from '../file-account.js';
import { NamedNode } from '../named-node.js';
import { accountOf, counted, sizeOf, type Making } from './counting.js';
import { Verdict } from './policy.js';
import type { PolicyContext } from './policy-context.js';
import { PolicyFile } from './policy-file.js';
import { removeEntry, renameEntry } from './removal.js';

const WRITES = OpenFlag.O_ACCMODE | OpenFlag.O_TRUNC;

export class PolicyNode extends NamedNode<PolicyNode> {
  readonly context: PolicyContext;
  readonly inner: FsNode;
  #version = -1;
  #verdict: Verdict = Verdict.denied;

  /** Takes over `inner`. */
  constructor(context: PolicyContext, parent: PolicyNode | null, name: ByteString, inner: FsNode) {
    super(parent, name);
    this.context = context;
    this.inner = inner;
  }

  protected override get self(): this {
    return this;
  }

  protected override onDetach(): void {
    // Open files and fids keep what was said of the last path.
  }

  protected override onRelease(): void {
    this.inner.release();
  }

  /** Within the export; '' for the root. */
  path(): ByteString {
    let path = '';
    for (let node: PolicyNode = this.self; node.parentNode !== null; node = node.parentNode)
      path = `/${node.name}${path}`;
    return path;
  }

  pathOf(name: ByteString): ByteString {
    return this.context.rules.hasPatterns || this.context.audit !== undefined ? `${this.path()}/${name}` : '';
  }

  get verdict(): Verdict {
    const { context } = this;
    if (this.#version === context.version) return this.#verdict;
    this.#verdict = context.rules.hasPatterns ? context.rules.judge(this.path()) : Verdict.allowed;
    this.#version = context.version;
    return this.#verdict;
  }

  /** 0 where the file may be looked at, and so far as it may be. */
  mayLook(operation: string): number {
    const { context, verdict } = this;
    const refused = context.isRevoked ? -Errno.ESTALE : verdict === Verdict.denied ? -Errno.EACCES : 0;
    return context.isAudited(refused) ? context.decided(operation, this.path(), refused) : refused;
  }

  /** 0 where the file may be changed. */
  mayChange(operation: string): number {
    const { context } = this;
    let refused = 0;
    if (context.isRevoked) refused = -Errno.ESTALE;
    else if (this.verdict !== Verdict.allowed) refused = -Errno.EACCES;
    else if (context.rules.readOnly) refused = -Errno.EROFS;
    return context.isAudited(refused) ? context.decided(operation, this.path(), refused) : refused;
  }

  /** 0 where the entry `name` may be made, replaced or removed. What does not show is -ENOENT to those who would remove it. */
  mayChangeEntry(operation: string, name: ByteString, hidden: Failure = -Errno.EACCES): number {
    const { context } = this;
    const { rules } = context;
    const path = this.pathOf(name);
    let refused = 0;
    if (context.isRevoked) refused = -Errno.ESTALE;
    else if (this.verdict === Verdict.denied) refused = -Errno.EACCES;
    else if (rules.hasPatterns) refused = refusalOf(rules.judge(path), hidden);
    if (refused === 0 && rules.readOnly) refused = -Errno.EROFS;
    return context.decided(operation, path, refused);
  }

  override getattr(out: Attributes): MaybePromise<number> {
    const refused = this.mayLook('getattr');
    return refused < 0 ? refused : this.inner.getattr(out);
  }

  override walk(name: ByteString, out?: Attributes): Promise<PolicyNode | Failure> {
    return this.context.naming(() => this.#walk(name, out));
  }

  async #walk(name: ByteString, out: Attributes | undefined): Promise<PolicyNode | Failure> {
    const { context } = this;
    const path = this.pathOf(name);
    let verdict: Verdict = Verdict.allowed;
    let refused = context.isRevoked ? -Errno.ESTALE : this.verdict === Verdict.denied ? -Errno.EACCES : 0;
    if (refused === 0 && context.rules.hasPatterns) {
      verdict = context.rules.judge(path);
      if (verdict === Verdict.denied) refused = -Errno.ENOENT;
    }
    if (context.decided('walk', path, refused) < 0) return refused;
    const inner = await this.inner.walk(name, out);
    if (isFailure(inner)) {
      if (inner === -Errno.ENOENT) this.child(name)?.detach();
      return inner;
    }
    if (verdict === Verdict.passage && !(await isDirectory(inner))) {
      inner.release();
      return context.decided('walk', path, -Errno.ENOENT);
    }
    return this.childFor(name, inner);
  }

  /** The node of what was found under `name`, with a reference for the caller. Takes over `inner`. */
  async childFor(name: ByteString, inner: FsNode): Promise<PolicyNode> {
    const known = this.child(name);
    const isSame = known !== undefined && (known.inner === inner || (await isSameFile(known.inner, inner)));
    // Others may have walked there meanwhile.
    const current = this.child(name);
    if (current !== undefined && (isSame ? current === known : current.inner === inner)) {
      inner.release();
      current.retain();
      return current;
    }
    current?.detach();
    const node = new PolicyNode(this.context, this, name, inner);
    this.adopt(node);
    return node;
  }

  override setattr(changes: AttributeChanges): MaybePromise<number> {
    const refused = this.mayChange('setattr');
    if (refused < 0) return refused;
    const cuts = (changes.valid & SetAttr.P9_ATTR_SIZE) !== 0;
    return cuts && this.context.limitsBytes ? this.#cut(changes) : this.inner.setattr(changes);
  }

  async #cut(changes: AttributeChanges): Promise<number> {
    const account = await accountOf(this.context, this.inner);
    if (account === undefined || isFailure(account) || changes.sizeBytes < 0)
      return this.inner.setattr(changes);
    const measure = (): Promise<number> => sizeOf(this.inner);
    const answer = await account.resize(changes.sizeBytes, measure, async () => this.inner.setattr(changes));
    account.release();
    return answer;
  }

  override open(flags: number, out?: Attributes): MaybePromise<OpenFile | Failure> {
    const refused = (flags & WRITES) === 0 ? this.mayLook('open') : this.mayChange('open');
    return refused < 0 ? refused : this.#open(flags, out);
  }

  async #open(flags: number, out: Attributes | undefined): Promise<OpenFile | Failure> {
    const { context } = this;
    const refused = context.takeOpenFile();
    if (refused < 0) return context.decided('open', this.path(), refused);
    // Held for as long as the file is open: what it has is given back when it is closed, and not when it is removed.
    const account = context.limitsBytes ? await accountOf(context, this.inner) : undefined;
    const held = isFailure(account) ? undefined : account;
    const file = await this.#openCounted(flags, out, held);
    if (!isFailure(file)) return new PolicyFile(this, file, flags, held);
    held?.release();
    context.openFiles--;
    return file;
  }

  async #openCounted(
    flags: number,
    out: Attributes | undefined,
    account: FileAccount | undefined,
  ): Promise<OpenFile | Failure> {
    if (account === undefined || (flags & OpenFlag.O_TRUNC) === 0) return this.inner.open(flags, out);
    let file: OpenFile | Failure = -Errno.EIO;
    const measure = (): Promise<number> => sizeOf(this.inner);
    const error = await account.resize(0, measure, async () => {
      file = await this.inner.open(flags, out);
      return isFailure(file) ? file : 0;
    });
    return error < 0 ? error : file;
  }

  override create(
    name: ByteString,
    flags: number,
    mode: number,
    owner: Owner,
    out?: Attributes,
  ): Promise<Created | Failure> {
    return this.context.naming(() => this.#create(name, flags, mode, owner, out));
  }

  async #create(
    name: ByteString,
    flags: number,
    mode: number,
    owner: Owner,
    out: Attributes | undefined,
  ): Promise<Created | Failure> {
    const { context } = this;
    const refused = this.mayChangeEntry('create', name);
    if (refused < 0) return refused;
    // So that it is known whether a file is new, and counted.
    const counts = context.limitsFiles;
    const asked = counts ? flags | OpenFlag.O_EXCL : flags;
    const full = context.takeOpenFile();
    if (full < 0) return context.decided('create', this.pathOf(name), full);
    const created = await counted(context, FileMode.S_IFREG, this.#entry(name), () =>
      this.inner.create(name, asked, mode, owner, out),
    );
    if (isFailure(created)) context.openFiles--;
    if (created === -Errno.EEXIST && (flags & OpenFlag.O_EXCL) === 0)
      return this.#openExisting(name, flags, out);
    if (isFailure(created)) return created;
    const node = await this.childFor(name, created.node);
    const account = context.limitsBytes ? await accountOf(context, node.inner) : undefined;
    const held = isFailure(account) ? undefined : account;
    return { node, file: new PolicyFile(node, created.file, flags, held) };
  }

  async #openExisting(
    name: ByteString,
    flags: number,
    out: Attributes | undefined,
  ): Promise<Created | Failure> {
    const node = await this.#walk(name, undefined);
    if (isFailure(node)) return node;
    const wanted = flags & ~(OpenFlag.O_CREAT | OpenFlag.O_EXCL);
    const file = (await isDirectory(node.inner)) ? -Errno.EISDIR : await node.open(wanted, out);
    if (!isFailure(file)) return { node, file };
    node.release();
    return file;
  }

  override mkdir(name: ByteString, mode: number, owner: Owner, out?: Attributes): Promise<FsNode | Failure> {
    return this.#make('mkdir', name, FileMode.S_IFDIR, () => this.inner.mkdir(name, mode, owner, out));
  }

  override symlink(
    name: ByteString,
    target: ByteString,
    owner: Owner,
    out?: Attributes,
  ): Promise<FsNode | Failure> {
    return this.#make('symlink', name, FileMode.S_IFLNK, () => this.inner.symlink(name, target, owner, out));
  }

  override mknod(
    name: ByteString,
    mode: number,
    rdev: number,
    owner: Owner,
    out?: Attributes,
  ): Promise<FsNode | Failure> {
    return this.#make('mknod', name, FileMode.S_IFREG, () => this.inner.mknod(name, mode, rdev, owner, out));
  }

  #make(
    operation: string,
    name: ByteString,
    type: number,
    make: Making<FsNode>,
  ): Promise<PolicyNode | Failure> {
    return this.context.naming(async () => {
      const refused = this.mayChangeEntry(operation, name);
      const made = refused < 0 ? refused : await counted(this.context, type, this.#entry(name), make);
      return isFailure(made) ? made : this.childFor(name, made);
    });
  }

  override async link(name: ByteString, target: FsNode): Promise<number> {
    if (!this.sharesMountWith(target)) return -Errno.EXDEV;
    return this.context.naming(async () => {
      const refused = this.mayChangeEntry('link', name) || target.mayChange('link');
      if (refused < 0) return refused;
      return counted(this.context, FileMode.S_IFREG, this.#entry(name), () =>
        this.inner.link(name, target.inner),
      );
    });
  }

  override readlink(): MaybePromise<ByteString | Failure> {
    const refused = this.mayLook('readlink');
    return refused < 0 ? refused : this.inner.readlink();
  }

  override unlink(name: ByteString, directory: boolean): Promise<number> {
    return this.context.naming(() => removeEntry(this, name, directory));
  }

  override async rename(name: ByteString, newDirectory: FsNode, newName: ByteString): Promise<number> {
    if (!this.sharesMountWith(newDirectory)) return -Errno.EXDEV;
    return this.context.renaming(() => renameEntry(this, name, newDirectory, newName));
  }

  override async remove(): Promise<number> {
    return this.context.naming(async () => {
      const directory = this.parentNode;
      if (directory === null) return -Errno.EBUSY;
      if (this.detached) return -Errno.ESTALE;
      return removeEntry(directory, this.name, await isDirectory(this.inner), this);
    });
  }

  override async renameTo(newDirectory: FsNode, newName: ByteString): Promise<number> {
    if (!this.sharesMountWith(newDirectory)) return -Errno.EXDEV;
    return this.context.renaming(async () => {
      const directory = this.parentNode;
      if (directory === null) return -Errno.EBUSY;
      if (this.detached) return -Errno.ESTALE;
      return renameEntry(directory, this.name, newDirectory, newName, this);
    });
  }

  override async statfs(out: FileSystemStatistics): Promise<number> {
    const refused = this.mayLook('statfs');
    const error = refused < 0 ? refused : await this.inner.statfs(out);
    if (error === 0 && this.context.limitsFiles) this.context.quota.clamp(out);
    return error;
  }

  override getxattr(name: ByteString): MaybePromise<Uint8Array | Failure> {
    const refused = this.mayLook('getxattr');
    return refused < 0 ? refused : this.inner.getxattr(name);
  }

  override listxattr(): MaybePromise<Uint8Array | Failure> {
    const refused = this.mayLook('listxattr');
    return refused < 0 ? refused : this.inner.listxattr();
  }

  override setxattr(name: ByteString, value: Uint8Array, flags: number): MaybePromise<number> {
    const refused = this.mayChange('setxattr');
    return refused < 0 ? refused : this.inner.setxattr(name, value, flags);
  }

  override removexattr(name: ByteString): MaybePromise<number> {
    const refused = this.mayChange('removexattr');
    return refused < 0 ? refused : this.inner.removexattr(name);
  }

  #entry(name: ByteString): () => Promise<boolean> {
    return async () => {
      const node = await this.inner.walk(name);
      if (isFailure(node)) return false;
      node.release();
      return true;
    };
  }

  sharesMountWith(node: FsNode): node is PolicyNode {
    return node instanceof PolicyNode && node.context === this.context;
  }
}

/** A passage is no file of the guest's to change; whoever would remove what does not show is told that there is nothing. */
function refusalOf(verdict: Verdict, hidden: Failure): number {
  if (verdict === Verdict.allowed) return 0;
  return verdict === Verdict.passage ? -Errno.EACCES : hidden;
}

export async function isDirectory(node: FsNode): Promise<boolean> {
  const attributes = new Attributes();
  const error = await node.getattr(attributes);
  return error === 0 && (attributes.mode & FileMode.S_IFMT) === FileMode.S_IFDIR;
}

async function isSameFile(a: FsNode, b: FsNode): Promise<boolean> {
  const [one, other] = [new Attributes(), new Attributes()];
  if ((await a.getattr(one)) < 0 || (await b.getattr(other)) < 0) return false;
  return one.device === other.device && one.inodeLow === other.inodeLow && one.inodeHigh === other.inodeHigh;
}
